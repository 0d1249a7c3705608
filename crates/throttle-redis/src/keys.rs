//! The names of keys in Redis.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use throttle_core::{Charge, ConcurrencyKey, Key};

/// The naming scheme: a prefix for every key and, optionally, a secret that hashes identities.
#[derive(Clone)]
pub(crate) struct Keys {
    prefix: String,
    secret: Option<Hmac<Sha256>>,
}

impl Keys {
    pub(crate) fn new(prefix: String, secret: Option<&[u8]>) -> Self {
        let secret = secret.map(|secret| {
            Hmac::new_from_slice(secret).expect("HMAC takes keys of any length") // RFC 2104
        });
        Self { prefix, secret }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the name of a user's own value.
    pub(crate) fn of_value(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns the name of a state: `prefix{identity}:rule`.
    ///
    /// The braces are the hash tag of Redis Cluster, so all rules of one identity share a slot.
    pub(crate) fn of_charge(&self, charge: &Charge<'_>) -> String {
        match &self.secret {
            None => format!("{}{}", self.prefix, charge.storage_key()),
            Some(secret) => {
                let hidden = hidden(secret, charge.key());
                let rule = Key::from(charge.rule().name()).to_token();
                format!("{}{{{hidden}}}:{rule}", self.prefix)
            }
        }
    }

    /// Returns the name of the permits of a concurrency limit: `prefix{identity}:%places:name`.
    pub(crate) fn of_concurrency(&self, of: &ConcurrencyKey<'_>) -> String {
        let identity = match &self.secret {
            None => of.key().to_token(),
            Some(secret) => hidden(secret, of.key()),
        };
        format!("{}{{{identity}}}:{}", self.prefix, of.to_token())
    }
}

/// Returns the first 128 bits of an HMAC-SHA-256 in hexadecimal, after `%hmac:`.
///
/// It cannot clash with a plain identity: after a `%`, those have two hexadecimal digits or `sha256:`.
fn hidden(secret: &Hmac<Sha256>, key: &Key<'_>) -> String {
    let mut mac = secret.clone();
    mac.update(key.to_token().as_bytes());
    let digest = mac.finalize().into_bytes();
    let mut word = String::from("%hmac:");
    for byte in &digest[..16] {
        use fmt::Write as _;
        let _ = write!(word, "{byte:02x}"); // writing to a String cannot fail
    }
    word
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("prefix", &self.prefix)
            .field("hidden", &self.secret.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throttle_core::{CheckedRule, Rule};

    use super::*;

    fn rule(name: &str) -> Arc<CheckedRule> {
        Arc::new(Rule::per_minute(name, 1).check().unwrap())
    }

    fn name(keys: &Keys, identity: &str, rule_name: &str) -> String {
        keys.of_charge(&Charge::new(&Key::from(identity), &rule(rule_name), 1))
    }

    #[test]
    fn identities_and_rules_that_try_to_collide_never_share_a_key() {
        let parts =
            ["a", "b", "c", "a:b", "b:c", "a}:b", "{a", "a}", "{", "}", "{}", " ", "%7B", ":"];
        for secret in [None, Some(&b"secret"[..])] {
            let keys = Keys::new("p:".to_owned(), secret);
            let mut seen = std::collections::HashSet::new();
            for identity in parts.iter().chain(&[""]) {
                for rule in parts {
                    let key = Key::from(*identity);
                    let permits = keys.of_concurrency(&ConcurrencyKey::new(rule, &key));
                    for name in [name(&keys, identity, rule), permits] {
                        let new = seen.insert(name.clone());
                        assert!(new, "{identity:?} and {rule:?} share {name}");
                        assert_eq!(name.matches('{').count(), 1, "{name}");
                        assert_eq!(name.matches('}').count(), 1, "{name}");
                        assert!(!name.contains(' '), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_hidden_identity_cannot_be_read_and_depends_on_the_secret() {
        let one = name(&Keys::new("p:".to_owned(), Some(b"one")), "192.0.2.1", "api");
        let two = name(&Keys::new("p:".to_owned(), Some(b"two")), "192.0.2.1", "api");
        assert!(!one.contains("192.0.2.1") && one != two);
        assert_eq!(one.len(), "p:{%hmac:}:api".len() + 32);
    }

    #[test]
    fn an_identity_of_64_kib_makes_a_short_key() {
        let keys = Keys::new("p:".to_owned(), None);
        assert!(name(&keys, &"x".repeat(65_536), "api").len() < 100);
    }

    #[test]
    fn the_debug_output_shows_no_secret() {
        let keys = Keys::new("p:".to_owned(), Some(b"hunter2"));
        assert!(!format!("{keys:?}").contains("hunter2"));
    }
}
