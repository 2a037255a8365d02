//! Secrets: given directly or in a file, never repeated by a message.

use std::path::Path;

use super::Reader;
use super::forms::username;
use crate::config::file::{API_KEY, EXTRA_SERVER, STATIC_USER};
use crate::config::load::{Layer, Layers};
use crate::config::secret::Secret;
use crate::config::settings::{ApiKey, ExtraServer, StaticUser};
use crate::config::shape::{Fields, Parsed, Wrong, list, text, words, wrong};
use crate::config::text;
use crate::config::value::Value;

/// The shared secret; of `secret` and `secret_file` the one in the higher layer.
pub(super) fn turn_secret(reader: &mut Reader<'_>) -> Option<Secret> {
    let direct = reader.with_layer("turn.secret", secret_text);
    let layers = reader.layers;
    let in_file = layers.get("turn.secret_file").map(|(_, layer)| layer);
    if let Some((secret, layer)) = direct {
        match in_file {
            Some(other) if other == layer => reader.note(
                "turn.secret_file",
                layer,
                vec![Wrong::new("turn.secret is given too: keep one of them")],
            ),
            Some(other) if other > layer => {}
            _ => return Some(secret),
        }
    }
    let layer = in_file?;
    reader.optional("turn.secret_file", move |value: &Value| {
        let path = text(words)(value)?;
        secret_from(&layers.resolve(layer, &path))
    })
}

/// The admin listener's token.
pub(super) fn admin_token(reader: &mut Reader<'_>) -> Option<Secret> {
    let layers = reader.layers;
    let (_, layer) = layers.get("admin.token_file")?;
    reader.optional("admin.token_file", move |value: &Value| {
        let path = text(words)(value)?;
        secret_from(&layers.resolve(layer, &path))
    })
}

pub(super) fn static_user(layers: &Layers, value: &Value) -> Parsed<StaticUser> {
    let mut fields = Fields::of(value, STATIC_USER)?;
    let username = fields.get("username", text(username));
    let password = credential(
        layers,
        "turn.static_users",
        &mut fields,
        "password",
        "password_file",
    );
    if !fields.has("username") {
        fields.complain("username is missing");
    }
    if !fields.has("password") && !fields.has("password_file") {
        fields.complain("password is missing");
    }
    let user = username.zip(password);
    fields.finish(user.map(|(username, password)| StaticUser { username, password }))
}

pub(super) fn extra_server(layers: &Layers, value: &Value) -> Parsed<ExtraServer> {
    let mut fields = Fields::of(value, EXTRA_SERVER)?;
    let urls = fields.get("urls", list(text(text::ice_url)));
    let username = fields.get("username", text(username)).unwrap_or_default();
    let credential = credential(
        layers,
        "ice.extra_servers",
        &mut fields,
        "credential",
        "credential_file",
    );
    if !fields.has("urls") || urls.as_ref().is_some_and(Vec::is_empty) {
        fields.complain("urls are missing");
    }
    fields.finish(urls.map(|urls| ExtraServer {
        urls,
        username,
        credential: credential.unwrap_or_default(),
    }))
}

pub(super) fn api_key(layers: &Layers, value: &Value) -> Parsed<ApiKey> {
    let mut fields = Fields::of(value, API_KEY)?;
    let name = fields.get("name", text(username));
    let key = credential(layers, "ice.api_keys", &mut fields, "key", "key_file");
    if !fields.has("name") {
        fields.complain("name is missing");
    }
    if !fields.has("key") && !fields.has("key_file") {
        fields.complain("key is missing");
    }
    if let Some(bytes) = key.as_ref().map(Secret::expose) {
        if bytes.len() < MIN_API_KEY {
            fields.complain(format!(
                "a key needs at least {MIN_API_KEY} characters; make one with: openssl rand -hex 24"
            ));
        } else if !bytes.iter().all(u8::is_ascii_graphic) {
            fields.complain("a key has visible ASCII characters only, to fit into a header");
        }
    }
    let pair = name.zip(key);
    fields.finish(pair.map(|(name, key)| ApiKey { name, key }))
}

/// Whoever guesses one relays through this server.
const MIN_API_KEY: usize = 24;

/// A secret field or the file it is in.
fn credential(
    layers: &Layers,
    path: &str,
    fields: &mut Fields<'_>,
    direct: &str,
    in_file: &str,
) -> Option<Secret> {
    if fields.has(direct) && fields.has(in_file) {
        fields.complain(format!(
            "{direct} and {in_file} are both given: keep one of them"
        ));
        return None;
    }
    let layer = layers.get(path).map_or(Layer::Default, |found| found.1);
    fields.get(direct, secret_text).or_else(|| {
        fields.get(in_file, |value| {
            let path = text(words)(value)?;
            secret_from(&layers.resolve(layer, &path))
        })
    })
}

/// Text that no message repeats.
fn secret_text(value: &Value) -> Parsed<Secret> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Ok(Secret::new(text.as_bytes())),
        Value::Text(_) => wrong("the secret is empty"),
        other => wrong(format!("expected text in quotes, found {}", other.kind())),
    }
}

fn secret_from(path: &Path) -> Parsed<Secret> {
    match std::fs::read(path) {
        Err(cause) => wrong(format!("{}: cannot be read: {cause}", path.display())),
        Ok(bytes) => match bytes.trim_ascii_end() {
            [] => wrong(format!("{}: the file is empty", path.display())),
            secret => Ok(Secret::new(secret)),
        },
    }
}
