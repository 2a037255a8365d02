//! `[tls]`: who supplies the certificate, which depends on what else is configured.

use super::Reader;
use crate::config::fitness::unfit;
use crate::config::load::Layer;
use crate::config::settings::{Acme, Challenge, Tls};
use crate::config::shape::{Wrong, choice, flag, text};
use crate::config::text::TextError;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Auto,
    Acme,
    Files,
    SelfSigned,
}

pub(super) fn tls(reader: &mut Reader<'_>, hosts: &[String]) -> Tls {
    let mode = reader.required(
        "tls.mode",
        choice(&[
            ("auto", Mode::Auto),
            ("acme", Mode::Acme),
            ("files", Mode::Files),
            ("self-signed", Mode::SelfSigned),
        ]),
    );
    let (cert, key) = (reader.path("tls.cert"), reader.path("tls.key"));
    let acme = acme(reader, mode == Mode::Acme);
    if matches!(mode, Mode::SelfSigned | Mode::Acme) && (cert.is_some() || key.is_some()) {
        let unused = match mode {
            Mode::Acme => "acme",
            _ => "self-signed",
        };
        reader.warnings.push(format!(
            "tls.mode: \"{unused}\" leaves cert and key unused: \"files\" or \"auto\" uses them"
        ));
    }
    match (mode, cert, key) {
        (Mode::SelfSigned, _, _) => Tls::SelfSigned,
        (Mode::Acme, _, _) | (Mode::Auto, None, None) => order(reader, hosts, acme),
        (Mode::Auto | Mode::Files, Some(cert), Some(key)) => Tls::Files { cert, key },
        (_, cert, _) => {
            let (missing, present) = match cert {
                None => ("tls.cert", "tls.key"),
                Some(_) => ("tls.key", "tls.cert"),
            };
            // Absent, not wrong: what is wrong with a value has been said.
            if reader.layers.get(missing).is_none() {
                let asks = match mode {
                    Mode::Files => "tls.mode",
                    _ => present,
                };
                let what = format!(
                    "{missing} is missing: a certificate needs its key and a key its certificate"
                );
                complain(reader, asks, what);
            }
            Tls::SelfSigned
        }
    }
}

/// Whether the names allow an order at all. Where it was not asked for, a start must not fail.
fn order(reader: &mut Reader<'_>, hosts: &[String], acme: Acme) -> Tls {
    if hosts.is_empty() {
        if acme.chosen {
            let what = "host is missing: certificates are ordered for names".to_owned();
            complain(reader, "tls.mode", what);
        }
        return Tls::SelfSigned;
    }
    let unfit = hosts.iter().find_map(|host| {
        let why = match acme.is_public() {
            true => unfit(host),
            false => host
                .parse::<std::net::IpAddr>()
                .is_ok()
                .then_some("is an address, not a name"),
        };
        why.map(|why| (host, why))
    });
    let Some((host, why)) = unfit else {
        return Tls::Acme(acme);
    };
    let what = format!("{host} {why}: no public certificate authority certifies it");
    match acme.chosen {
        true => complain(
            reader,
            "tls.mode",
            format!(
                "{what}; use \"self-signed\", \"files\" with a certificate of your own authority, or acme_directory \
                 and acme_ca_file of a private one"
            ),
        ),
        false => reader.warnings.push(format!(
            "tls.mode: {what}, so the certificate is self-signed; mode = \"self-signed\" says that this is meant"
        )),
    }
    Tls::SelfSigned
}

fn acme(reader: &mut Reader<'_>, chosen: bool) -> Acme {
    Acme {
        directory: reader.required("tls.acme_directory", text(directory)),
        email: reader.optional("tls.acme_email", text(email)),
        ca_file: reader.path("tls.acme_ca_file"),
        challenge: reader.required(
            "tls.acme_challenge",
            choice(&[
                ("tls-alpn-01", Challenge::TlsAlpn01),
                ("http-01", Challenge::Http01),
            ]),
        ),
        throwaway: reader.required("tls.acme_throwaway", flag),
        chosen,
    }
}

fn complain(reader: &mut Reader<'_>, key: &'static str, what: String) {
    let layer = reader
        .layers
        .get(key)
        .map_or(Layer::Default, |found| found.1);
    reader.note(key, layer, vec![Wrong::new(what)]);
}

fn directory(text: &str) -> Result<String, TextError> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    match host.split('/').next() {
        Some(name) if !name.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        _ => Err(TextError::Form(
            "the https:// URL of an ACME directory such as \"https://ca.example.com/acme/directory\"",
        )),
    }
}

fn email(text: &str) -> Result<String, TextError> {
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty()
                && domain.contains('.')
                && text.bytes().all(|b| b.is_ascii_graphic() && b != b',') =>
        {
            Ok(text.to_owned())
        }
        _ => Err(TextError::Form("an address such as \"admin@example.com\"")),
    }
}
