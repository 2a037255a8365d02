//! The operator's keys to the ICE configuration. Pure.

use aws_lc_rs::{constant_time, digest};

use crate::config::settings::ApiKey;

/// Keys, and whose they are.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys {
    keys: Vec<(String, digest::Digest)>,
}

impl ApiKeys {
    /// Takes the configured ones.
    pub fn new(keys: &[ApiKey]) -> Self {
        let digest = |key: &ApiKey| digest::digest(&digest::SHA256, key.key.expose());
        let keys = keys.iter().map(|key| (key.name.clone(), digest(key)));
        Self {
            keys: keys.collect(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key this is.
    pub fn holder(&self, given: &[u8]) -> Option<&str> {
        // Digests have one length, and all keys are looked at: time tells nothing about any.
        let given = digest::digest(&digest::SHA256, given);
        let mut holder = None;
        for (name, key) in &self.keys {
            if constant_time::verify_slices_are_equal(key.as_ref(), given.as_ref()).is_ok() {
                holder = Some(name.as_str());
            }
        }
        holder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_key_is_good_as_a_whole_only() {
        let key = |name: &str, key: &str| ApiKey {
            name: name.to_owned(),
            key: Secret::new(key),
        };
        let first = "0123456789abcdef01234567";
        let keys = ApiKeys::new(&[
            key("shop", first),
            key("door", "another key of the operator"),
        ]);
        assert_eq!(keys.holder(first.as_bytes()), Some("shop"));
        assert_eq!(keys.holder(b"another key of the operator"), Some("door"));
        for wrong in [
            "",
            "shop",
            "0123456789abcdef0123456",
            "0123456789abcdef012345678",
        ] {
            assert_eq!(keys.holder(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(ApiKeys::default().holder(b""), None);
    }
}
