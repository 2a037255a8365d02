//! AppRTC's page templates, filled with what a visitor's browser is told. Pure.
//!
//! The templates are the operator's copies, made for an engine that escaped nothing. One and the
//! same value stands in an attribute here and in a string of a script there, so what is written must
//! be right in both: whatever could end either becomes an escape that scripts read, and that is
//! harmless text to HTML. Addresses hold nothing of that kind; see [`crate::signal::apprtc::params`].

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, Value};

use crate::signal::apprtc::params::{Params, script};

/// Fills a template.
pub(super) fn render(template: &str, params: &Params) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _, value| write(out, value));
    environment.render_str(template, context(params)?)
}

/// What templates call the parts of it.
fn context(params: &Params) -> Result<Value, Error> {
    let params = serde_json::to_value(params)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let fields = params.as_object().into_iter().flatten();
    Ok(fields
        .map(|(name, value)| {
            let value = match value.as_str().filter(|_| is_code(name)) {
                Some(code) => Value::from_safe_string(code.to_owned()),
                None => Value::from_serialize(value),
            };
            (name.clone(), value)
        })
        .collect())
}

/// Whether a field stands in a script or between elements as it is: JSON, truth values, and an
/// element of ours. None of them can hold what would end a script.
fn is_code(name: &str) -> bool {
    matches!(
        name,
        "pc_config"
            | "pc_constraints"
            | "media_constraints"
            | "offer_options"
            | "is_loopback"
            | "bypass_join_confirmation"
            | "version_info"
            | "include_loopback_js"
    )
}

fn write(out: &mut Output<'_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => {}
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            match value.is_safe() {
                true => out.write_str(text)?,
                false => escape(text, out)?,
            }
        }
        ValueKind::Number | ValueKind::Bool => write!(out, "{value}")?,
        // Lists of messages stand in scripts.
        _ => {
            let json = serde_json::to_value(value)
                .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
            out.write_str(&script(&json))?;
        }
    }
    Ok(())
}

fn escape(text: &str, out: &mut Output<'_>) -> std::fmt::Result {
    for c in text.chars() {
        let is_special = matches!(
            c,
            '<' | '>' | '"' | '\'' | '`' | '\\' | '\u{2028}' | '\u{2029}'
        );
        match is_special || c.is_control() {
            true => write!(out, "\\u{:04x}", u32::from(c))?,
            false => out.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
