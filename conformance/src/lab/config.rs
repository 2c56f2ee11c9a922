//! The YAML files of the programs under test, key by key.

use std::fmt::Write as _;

/// The token of every lab: long enough that no program warns about it.
#[derive(Debug)]
pub struct Token;

impl Token {
    /// The token's text.
    pub const TEXT: &'static str = "lab-token-of-32-characters-12345";
}

/// A configuration file: keys in order, each once.
#[derive(Debug, Clone, Default)]
pub struct Config {
    keys: Vec<(String, String)>,
}

impl Config {
    /// A server's configuration for the lab: everything that is not named here
    /// is left to the default of the program.
    #[must_use]
    pub fn server() -> Self {
        Self::default().set("token", Token::TEXT)
    }

    /// A client's configuration for the lab, with the server's IPv4 address, no
    /// routes and no check of the server's certificate.
    #[must_use]
    pub fn client() -> Self {
        Self::default()
            .set("server", "192.0.2.2:443")
            .set("token", Token::TEXT)
            .set("insecure", "true")
            .set("route_mode", "none")
    }

    /// Sets a key to a YAML value in flow style, in place of an earlier one.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.keys.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    /// Leaves a key out.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    /// The text of the file.
    #[must_use]
    pub fn yaml(&self) -> String {
        self.keys
            .iter()
            .fold(String::new(), |mut text, (key, value)| {
                let _ = writeln!(text, "{key}: {value}");
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_set_again_stands_once_and_in_its_place() {
        let config = Config::default()
            .set("a", "1")
            .set("b", "2")
            .set("a", "3")
            .without("c");
        assert_eq!(config.yaml(), "a: 3\nb: 2\n");
        assert_eq!(config.get("a"), Some("3"));
    }
}
