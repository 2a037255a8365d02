//! What is in force, for `callbox check`: every key with its value and origin, secrets redacted.

use super::file::KEYS;
use super::load::{Layer, Layers};
use super::report::Effective;
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
