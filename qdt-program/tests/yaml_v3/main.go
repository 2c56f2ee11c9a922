// Command record says what gopkg.in/yaml.v3 makes of YAML texts: it reads recordings, one JSON object
// with the text under "yaml" per line, and writes them anew with what became of each text, so that a
// new text is recorded by adding a line and running
//
//	go run . <../yaml_v3.jsonl >/tmp/new && mv /tmp/new ../yaml_v3.jsonl
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"gopkg.in/yaml.v3"
)

type nested struct {
	Count int    `yaml:"count"`
	Text  string `yaml:"text"`
}

type sample struct {
	Token  string        `yaml:"token"`
	Text   string        `yaml:"text"`
	Flag   bool          `yaml:"flag"`
	Count  int           `yaml:"count"`
	Wait   time.Duration `yaml:"wait"`
	List   []string      `yaml:"list"`
	Nested nested        `yaml:"nested"`
}

type result struct {
	YAML     string   `json:"yaml"`
	Accepted bool     `json:"accepted"`
	Error    string   `json:"error,omitempty"`
	Token    []byte   `json:"token_base64,omitempty"`
	Text     string   `json:"text,omitempty"`
	Flag     bool     `json:"flag,omitempty"`
	Count    int      `json:"count,omitempty"`
	Wait     int64    `json:"wait,omitempty"`
	List     []string `json:"list,omitempty"`
	NCount   int      `json:"nested_count,omitempty"`
	NText    string   `json:"nested_text,omitempty"`
}

func decode(text string) (r result) {
	r.YAML = text
	defer func() {
		if p := recover(); p != nil {
			r = result{YAML: text, Error: "panic"}
		}
	}()
	var s sample
	if err := yaml.Unmarshal([]byte(text), &s); err != nil {
		r.Error = err.Error()
		return r
	}
	r.Accepted = true
	r.Token, r.Text, r.List = []byte(s.Token), s.Text, s.List
	r.Flag, r.Count, r.Wait = s.Flag, s.Count, int64(s.Wait)
	r.NCount, r.NText = s.Nested.Count, s.Nested.Text
	return r
}

func main() {
	in := json.NewDecoder(os.Stdin)
	for in.More() {
		var recorded result
		if err := in.Decode(&recorded); err != nil {
			panic(err)
		}
		line, err := json.Marshal(decode(recorded.YAML))
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	}
}
