//! Certificates, good ones and others, and what the doctor makes of them.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::lab::{Lab, NAME, Site, is_root};

/// What is right or wrong with a certificate.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Good,
    Expired,
    OfAnotherName,
    OfNobodyKnown,
    OfAnAuthorityItself,
}

/// Whoever issues them.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    /// Writes `cert.pem`, `key.pem`, and the `roots.pem` that the world trusts.
    pub(crate) fn write(&self, directory: &Path, kind: Kind) {
        let name = match kind {
            Kind::OfAnotherName => "other.example.com",
            _ => NAME,
        };
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if kind == Kind::Expired {
            parameters.not_before = date_time_ymd(2020, 1, 1);
            parameters.not_after = date_time_ymd(2020, 4, 1);
        }
        if kind == Kind::OfAnAuthorityItself {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let stranger = Self::new("an authority that nobody knows");
        let issuer = match kind {
            Kind::OfNobodyKnown => &stranger.issuer,
            _ => &self.issuer,
        };
        let certificate = parameters.signed_by(&key, issuer).unwrap();
        fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(directory.join("roots.pem"), &self.pem).unwrap();
    }
}

fn examined(name: &str, kind: Kind) -> crate::lab::Examination {
    let site = Site {
        certificate: kind,
        ..Site::default()
    };
    Lab::start(name, &site).examine(&[])
}

#[test]
fn an_expired_certificate_is_named() {
    if is_root() {
        let found = examined("expired", Kind::Expired);
        found.names("certificate.expired", &["2020-04-01", "cert.pem"]);
    }
}

#[test]
fn a_certificate_for_another_name_is_named() {
    if is_root() {
        let found = examined("another-name", Kind::OfAnotherName);
        found.names(
            "certificate.names",
            &["other.example.com, not for call.example.com"],
        );
    }
}

#[test]
fn a_certificate_that_nobody_trusts_is_named() {
    if is_root() {
        let found = examined("untrusted", Kind::OfNobodyKnown);
        found.names("certificate.untrusted", &["issuer is unknown"]);
    }
}

#[test]
fn an_authoritys_own_certificate_is_named() {
    if is_root() {
        let found = examined("ca-itself", Kind::OfAnAuthorityItself);
        found.names("certificate.untrusted", &["CA:TRUE"]);
    }
}
