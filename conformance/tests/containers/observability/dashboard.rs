//! Dashboard, alert rules and the examples of the documentation: every
//! expression runs in a Prometheus that scrapes a server, finds data there,
//! and names documented series, labels and values only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use conformance::wait_until;
use serde_json::Value;

use super::documented::{self, Series};
use super::prometheus::{Prometheus, repository};
use super::promql::parts;
use super::{Named, Setting, promtool};
use crate::SECOND;
use crate::stage::Stage;

const DASHBOARD: &str = "docs/grafana/qdt-server.json";
const RULES: &str = "docs/grafana/alerts.yml";
const RULES_TESTS: &str = "conformance/tests/containers/observability/alerts.test.yml";

pub(super) fn cells() -> Vec<Named> {
    vec![
        (
            "every expression of the dashboard finds documented series with data",
            dashboard,
        ),
        ("the dashboard's panels are whole", panels),
        (
            "every expression of the documentation finds documented series with data",
            examples,
        ),
        (
            "the alert rules are valid, silent for a healthy server, and name documented series",
            rules,
        ),
        (
            "each alert fires for its reason and for no other",
            each_alert,
        ),
        ("an alert fires when the server is gone", server_gone),
        (
            "an expression with a wrong series, label, value or grammar is detected",
            wrong_expressions,
        ),
    ]
}

fn dashboard(stage: &Stage) {
    let setting = Setting::new(stage);
    let series = documented::series();
    let board = board();
    let expressions = expressions(&board);
    assert!(expressions.len() > 25, "{} expressions", expressions.len());
    setting
        .prometheus
        .wait_for_result("count_over_time(qdt_sessions_active[30s]) >= 2");
    let mut used = BTreeSet::new();
    for expression in expressions {
        let plain = without_variables(&expression);
        let found = check(&setting.prometheus, &series, &plain);
        used.extend(found.unwrap_or_else(|fault| panic!("{expression}: {fault}")));
        // A comparison is empty where nothing is wrong; everything else shows something at once.
        if !plain.contains('>') {
            let samples = setting.prometheus.query(&plain).unwrap_or_default();
            assert!(!samples.is_empty(), "{expression} shows nothing");
        }
    }
    let of_tunnel: BTreeSet<_> = series
        .keys()
        .filter(|name| name.starts_with("qdt_"))
        .cloned()
        .collect();
    assert!(
        used.is_superset(&of_tunnel),
        "the dashboard leaves out {:?}",
        of_tunnel.difference(&used)
    );
    for variable in board["templating"]["list"]
        .as_array()
        .expect("a list of variables")
    {
        let Some(query) = variable["query"]["query"].as_str() else {
            assert_eq!(variable["query"], "prometheus", "{variable}");
            continue;
        };
        let inside = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inside
            .and_then(|inside| inside.rsplit_once(", "))
            .expect("label_values(s, l)");
        let samples = setting
            .prometheus
            .query(&without_variables(selector))
            .unwrap_or_default();
        assert!(
            samples
                .iter()
                .any(|sample| sample.labels.contains_key(label)),
            "{query}"
        );
    }
}

fn panels(_: &Stage) {
    let board = board();
    let panels = board["panels"].as_array().expect("a list of panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(
            !title.is_empty() && ids.insert(panel["id"].as_u64()),
            "{panel}"
        );
        let at = |key: &str| {
            panel["gridPos"][key]
                .as_u64()
                .unwrap_or_else(|| panic!("{title}: {key}"))
        };
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(
                    x < 24 && taken.insert((x, y)),
                    "{title} overlaps another panel or the edge"
                );
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{title} has no unit"
            );
            assert!(
                !panel["description"].as_str().unwrap_or_default().is_empty(),
                "{title} says nothing"
            );
            assert!(
                !panel["targets"].as_array().expect("targets").is_empty(),
                "{title}"
            );
        }
    }
}

fn examples(stage: &Stage) {
    let setting = Setting::new(stage);
    let (series, examples) = (documented::series(), documented::examples());
    assert!(examples.len() >= 4, "{examples:?}");
    setting
        .prometheus
        .wait_for_result("count_over_time(qdt_sessions_active[30s]) >= 2");
    for example in examples {
        check(&setting.prometheus, &series, &example)
            .unwrap_or_else(|fault| panic!("{example}: {fault}"));
        let samples = setting.prometheus.query(&example).unwrap_or_default();
        assert!(!samples.is_empty(), "{example} shows nothing");
    }
}

fn rules(stage: &Stage) {
    let (code, output) = promtool(
        stage,
        "promtool check rules /rules.yml",
        &[("/rules.yml", &repository(RULES))],
    );
    assert!(code == 0 && output.contains("SUCCESS"), "{code}: {output}");

    let setting = Setting::new(stage);
    let series = documented::series();
    let rules = || -> Vec<Value> {
        let groups = setting.prometheus.ask("rules").expect("Prometheus answers");
        let rules = groups["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|group| group["rules"].clone());
        rules
            .flat_map(|rules| rules.as_array().cloned().unwrap_or_default())
            .collect()
    };
    wait_until("every rule was evaluated", 30 * SECOND, || {
        let rules = rules();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
    });
    wait_until(
        "every rule is silent for a healthy server",
        30 * SECOND,
        || rules().iter().all(|rule| rule["state"] == "inactive"),
    );
    let rules = rules();
    let text = fs::read_to_string(repository(RULES)).expect("the rules can be read");
    assert_eq!(
        rules.len(),
        text.matches("- alert:").count(),
        "every rule of the file is loaded"
    );
    for rule in rules {
        let expression = rule["query"].as_str().unwrap_or_default();
        check(&setting.prometheus, &series, expression)
            .unwrap_or_else(|fault| panic!("{expression}: {fault}"));
        for key in ["summary", "description"] {
            assert!(
                rule["annotations"][key].is_string(),
                "{} has no {key}",
                rule["name"]
            );
        }
        assert!(rule["labels"]["severity"].is_string(), "{}", rule["name"]);
    }
}

fn each_alert(stage: &Stage) {
    let files = [
        ("/rules.yml", &*repository(RULES)),
        ("/tests.yml", &*repository(RULES_TESTS)),
    ];
    let (code, output) = promtool(stage, "promtool test rules /tests.yml", &files);
    assert!(code == 0 && output.contains("SUCCESS"), "{code}: {output}");
    let text = |path| fs::read_to_string(repository(path)).expect("the file can be read");
    let (rules, tests) = (text(RULES), text(RULES_TESTS));
    for rule in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        let raised = format!("alertname=\"{rule}\"");
        assert!(tests.contains(&raised), "no test raises {rule}");
    }
}

fn server_gone(stage: &Stage) {
    let setting = Setting::new(stage);
    setting.server.kill();
    let alert = "ALERTS{alertname=\"QdtServerDown\"}";
    let raised = setting.prometheus.wait_for_result(alert);
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!(raised[0].labels["severity"], "critical");
}

fn wrong_expressions(stage: &Stage) {
    let setting = Setting::new(stage);
    let series = documented::series();
    for (wrong, says) in [
        ("rate(qdt_packages_total[1m])", "not documented"),
        ("sum by (reasons) (qdt_drops_total)", "label reasons"),
        ("qdt_drops_total{cause=\"replay\"}", "label cause"),
        ("qdt_drops_total{reason=\"spoofed\"}", "finds nothing"),
        ("sum(qdt_sessions_active", "parse error"),
        ("rate(qdt_bytes_total)", "range vector"),
        ("vector(1)", "no series"),
    ] {
        let fault = check(&setting.prometheus, &series, wrong).expect_err(wrong);
        assert!(fault.contains(says), "{wrong}: {fault}");
    }
    let right =
        "sum by (instance, direction) (rate(qdt_bytes_total{direction=~\"in|out\"}[1m])) * 8";
    let used = check(&setting.prometheus, &series, right);
    assert_eq!(used, Ok(BTreeSet::from(["qdt_bytes_total".to_owned()])));
}

/// Whether Prometheus takes an expression, every series and label in it is documented, and every
/// selector alone finds something. Returns the series it uses; Prometheus' own `up` is not among
/// them.
fn check(
    prometheus: &Prometheus,
    series: &BTreeMap<String, Series>,
    expression: &str,
) -> Result<BTreeSet<String>, String> {
    prometheus.query(expression)?;
    let parts = parts(expression);
    if parts.selectors.is_empty() {
        return Err("it has no series".to_owned());
    }
    let mut known = BTreeSet::from(["instance".to_owned(), "job".to_owned()]);
    let mut used = BTreeSet::new();
    for selector in parts.selectors {
        if selector.name != "up" {
            let documented = series.get(&selector.name);
            let documented =
                documented.ok_or_else(|| format!("{} is not documented", selector.name))?;
            let own = documented.label.iter().map(|(label, _)| label.clone());
            known.extend(own.clone());
            let own: Vec<_> = own
                .chain(["instance".to_owned(), "job".to_owned()])
                .collect();
            if let Some(label) = selector.labels.iter().find(|label| !own.contains(label)) {
                return Err(format!("{} has no label {label}", selector.name));
            }
            used.insert(selector.name.clone());
        }
        if prometheus.query(&selector.text)?.is_empty() {
            return Err(format!("{} finds nothing", selector.text));
        }
    }
    match parts.grouping.iter().find(|label| !known.contains(*label)) {
        Some(label) => Err(format!("no series in it has the label {label}")),
        None => Ok(used),
    }
}

fn board() -> Value {
    let text = fs::read_to_string(repository(DASHBOARD)).expect("the dashboard can be read");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// Every `expr` anywhere in the dashboard.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match value.as_str() {
                Some(text) if key == "expr" => vec![text.to_owned()],
                _ => expressions(value),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The expression as Grafana sends it with everything selected.
fn without_variables(expression: &str) -> String {
    let plain = expression
        .replace("$__rate_interval", "30s")
        .replace("$job", ".*")
        .replace("$instance", ".*");
    assert!(
        !plain.contains('$'),
        "a variable that this test does not know: {expression}"
    );
    plain
}
