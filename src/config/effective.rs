//! What is in force, for `callbox check`: every key with its value and origin, secrets redacted.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::file::KEYS;
use super::load::{Layer, Layers};
use super::report::Effective;
use super::secret::Secret;
use super::settings::{Settings, Tls};
use super::value::Value;

/// Every key, in the order of the file.
pub(super) fn effective(layers: &Layers, settings: &Settings) -> Vec<Effective> {
    KEYS.iter()
        .map(|key| {
            let (value, layer) = match layers.get(key.path) {
                Some((value, layer)) => (Some(value), layer),
                None => (computed(key.path, settings), Layer::Default),
            };
            let note = match (key.path, &value) {
                ("tls.mode", _) => match &settings.tls {
                    Tls::SelfSigned => "a self-signed certificate",
                    Tls::Files { .. } => "the certificate from cert and key",
                    Tls::Acme(_) => "a certificate ordered from acme_directory",
                },
                (_, None) => key.absent,
                _ => "",
            };
            Effective {
                fingerprint: fingerprint(key.path, value.as_ref(), settings),
                key: key.path,
                value: value.map(|value| match key.secret {
                    true => redacted(&value).to_toml(),
                    false => value.to_toml(),
                }),
                note: note.to_owned(),
                origin: layers.origin(layer, key.path, ""),
            }
        })
        .collect()
}

/// Values that no layer holds because the machine decides them.
fn computed(path: &str, settings: &Settings) -> Option<Value> {
    match path {
        "state_dir" => Some(Value::Text(settings.state_dir.display().to_string())),
        "turn.workers" => Some(Value::Number(settings.turn.workers.get() as i128)),
        _ => None,
    }
}

/// Tells two values apart without keeping them. Of what is read from a file of its own, the content
/// counts.
fn fingerprint(path: &str, value: Option<&Value>, settings: &Settings) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.map(Value::to_toml).hash(&mut hasher);
    match path {
        "turn.secret" => {
            let secret = settings.turn.secret.as_ref();
            secret.map(Secret::expose).hash(&mut hasher);
        }
        "turn.static_users" => {
            for user in &settings.turn.static_users {
                user.password.expose().hash(&mut hasher);
            }
        }
        "ice.extra_servers" => {
            for server in &settings.ice.extra_servers {
                server.credential.expose().hash(&mut hasher);
            }
        }
        "admin.token_file" => {
            let token = settings.admin.token.as_ref();
            token.map(Secret::expose).hash(&mut hasher);
        }
        _ => {}
    }
    hasher.finish()
}

/// The value with everything that may be a credential replaced.
fn redacted(value: &Value) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(redacted).collect()),
        Value::Table(table) => Value::Table(
            table
                .iter()
                .map(|(name, value)| match name.as_str() {
                    "password" | "credential" | "key" => (name.clone(), redacted(value)),
                    _ => (name.clone(), value.clone()),
                })
                .collect(),
        ),
        _ => Value::Text("<redacted>".to_owned()),
    }
}
