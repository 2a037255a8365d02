//! Is the certificate that the front door shows good for browsers?

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

use super::report::Finding;
use crate::cert::leaf::Leaf;
use crate::config::settings::Tls;

/// Whose certificate it ought to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Ours: nobody trusts it, and it was chosen all the same.
    Own,
    /// That in this file.
    File(String),
    /// One ordered from an authority, and why the last order failed.
    Ordered(Option<String>),
}

impl Meant {
    /// What the settings say.
    pub fn of(tls: &Tls, last_error: Option<String>) -> Self {
        match tls {
            Tls::SelfSigned => Self::Own,
            Tls::Files { cert, .. } => Self::File(cert.display().to_string()),
            Tls::Acme(_) => Self::Ordered(last_error),
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Own => "callbox makes a new one at its next start: `systemctl restart callbox`".to_owned(),
            Self::File(path) => {
                format!("renew {path} with the program that made it; callbox reads it again by itself")
            }
            Self::Ordered(Some(error)) => format!(
                "the last order failed ({error}): mend that, then `systemctl reload callbox` orders at once"
            ),
            Self::Ordered(None) => {
                "`curl -s http://127.0.0.1:9090/readyz` says when the next order is due; `systemctl reload callbox` orders at once".to_owned()
            }
        }
    }
}

/// Share of its life after which a certificate should have been renewed long ago: ours comes after
/// two thirds.
const LAST_PART: u64 = 6;

/// Nobody waits longer than this with a year's certificate.
const DAYS_LEFT: u64 = 14;

/// The roots that programs of this machine trust, and those that browsers agree on.
pub fn roots() -> Arc<RootCertStore> {
    let mut store = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    const BUNDLES: [&str; 3] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    let chosen = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let bundles = chosen.into_iter().chain(BUNDLES.map(Into::into));
    if let Some(text) = bundles.into_iter().find_map(|path| fs::read(path).ok()) {
        let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
        store.add_parsable_certificates(certificates);
    }
    Arc::new(store)
}

/// Judges a chain, leaf first.
pub fn judge(
    chain: &[CertificateDer<'_>],
    names: &[String],
    meant: &Meant,
    now: u64,
    roots: &RootCertStore,
) -> Vec<Finding> {
    let parsed = chain.split_first().and_then(|(leaf, rest)| {
        Some((
            ParsedCertificate::try_from(leaf).ok()?,
            Leaf::parse(leaf)?,
            rest,
        ))
    });
    let Some((parsed, leaf, intermediates)) = parsed else {
        return vec![Finding::failed(
            "certificate.untrusted",
            "the certificate that the front door shows cannot be read",
            meant.remedy(),
        )];
    };
    let mut findings: Vec<Finding> = [
        validity(&leaf, meant, now),
        coverage(&parsed, &leaf, names, meant),
    ]
    .into_iter()
    .flatten()
    .collect();
    // Whether it is trusted is another question than whether it is expired.
    let within = now.clamp(leaf.not_before, leaf.not_after);
    findings.extend(trust(&parsed, intermediates, meant, within, roots));
    if findings.is_empty() {
        findings.push(Finding::ok(
            "certificate",
            format!("{}, until {}", leaf.names.join(" "), leaf.until()),
        ));
    }
    findings
}

fn validity(leaf: &Leaf, meant: &Meant, now: u64) -> Option<Finding> {
    let day = 86_400;
    if now > leaf.not_after {
        let text = format!("the certificate expired on {}", leaf.until());
        return Some(Finding::failed("certificate.expired", text, meant.remedy()));
    }
    if now < leaf.not_before {
        let text = "by this machine's clock the certificate is not valid yet";
        return Some(Finding::failed(
            "certificate.early",
            text,
            "`timedatectl` shows the clock; `timedatectl set-ntp true` keeps it right",
        ));
    }
    let life = leaf.not_after.saturating_sub(leaf.not_before);
    let left = leaf.not_after.saturating_sub(now);
    (left < (life / LAST_PART).min(DAYS_LEFT * day)).then(|| {
        let text = format!(
            "the certificate ends on {} and has not been renewed",
            leaf.until()
        );
        Finding::failed("certificate.expiring", text, meant.remedy())
    })
}

fn coverage(
    parsed: &ParsedCertificate<'_>,
    leaf: &Leaf,
    names: &[String],
    meant: &Meant,
) -> Option<Finding> {
    let missing: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| {
            !ServerName::try_from(*name).is_ok_and(|name| verify_server_name(parsed, &name).is_ok())
        })
        .collect();
    (!missing.is_empty()).then(|| {
        Finding::failed(
            "certificate.names",
            format!(
                "the certificate is for {}, not for {}",
                leaf.names.join(" "),
                missing.join(" ")
            ),
            match meant {
                Meant::File(path) => {
                    format!("order one for all of `host` and put it in {path}; `openssl x509 -noout -ext subjectAltName -in {path}` shows its names")
                }
                meant => meant.remedy(),
            },
        )
    })
}

fn trust(
    parsed: &ParsedCertificate<'_>,
    intermediates: &[CertificateDer<'_>],
    meant: &Meant,
    now: u64,
    roots: &RootCertStore,
) -> Option<Finding> {
    let algorithms =
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let verified = verify_server_cert_signed_by_trust_anchor(
        parsed,
        roots,
        intermediates,
        now,
        algorithms.all,
    );
    let error = verified.err()?;
    Some(match meant {
        Meant::Own => Finding::note(
            "certificate.self-signed",
            "the certificate is our own, as configured: browsers ask before they show the page",
        )
        .with("set `host` to a public name, or [tls] cert and key"),
        Meant::Ordered(_) => Finding::failed(
            "certificate.untrusted",
            "the authority has issued no certificate yet: the one that is shown is our own, and browsers warn of it",
            meant.remedy(),
        ),
        Meant::File(path) => {
            let why = format!("{error}");
            let text = match why.contains("CaUsedAsEndEntity") {
                true => "the certificate is that of an authority itself (CA:TRUE), which no server may show".to_owned(),
                false if intermediates.is_empty() && why.contains("UnknownIssuer") => {
                    "browsers do not trust the certificate: its issuer is unknown, and no intermediate certificate is shown with it".to_owned()
                }
                false => format!("browsers do not trust the certificate ({error})"),
            };
            Finding::failed(
                "certificate.untrusted",
                text,
                format!(
                    "put the whole chain of a public authority into {path}, the server's own certificate first"
                ),
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    const DAY: u64 = 86_400;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        der: CertificateDer<'static>,
        roots: RootCertStore,
    }

    fn authority() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Authority {
            der: certificate.der().clone(),
            issuer: Issuer::new(parameters, key),
            roots,
        }
    }

    /// For `names`, the first 100 days of 2030.
    fn leaf(authority: &Authority, names: &[&str]) -> Vec<CertificateDer<'static>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = date_time_ymd(2030, 1, 1);
        parameters.not_after = date_time_ymd(2030, 4, 11);
        let key = KeyPair::generate().unwrap();
        vec![
            parameters
                .signed_by(&key, &authority.issuer)
                .unwrap()
                .der()
                .clone(),
        ]
    }

    const NEW_YEAR: u64 = 1_893_456_000;

    #[test]
    fn each_fault_of_a_certificate_has_its_own_name() {
        let authority = authority();
        let stranger = self::authority();
        let chain = leaf(&authority, &["a.example", "*.b.example"]);
        let file = Meant::File("/etc/cert.pem".to_owned());
        let ordered = Meant::Ordered(Some("dns".to_owned()));
        let middle = NEW_YEAR + 50 * DAY;
        let (good, bad) = (&authority.roots, &stranger.roots);
        for (names, meant, now, roots, expected) in [
            (
                &["a.example"][..],
                &file,
                middle,
                good,
                &["certificate"][..],
            ),
            (&["x.b.example"], &file, middle, good, &["certificate"]),
            (&[], &file, middle, good, &["certificate"]),
            (&["c.example"], &file, middle, good, &["certificate.names"]),
            (
                &["a.example"],
                &file,
                NEW_YEAR - 1,
                good,
                &["certificate.early"],
            ),
            (
                &["a.example"],
                &file,
                NEW_YEAR + 85 * DAY,
                good,
                &["certificate"],
            ),
            (
                &["a.example"],
                &file,
                NEW_YEAR + 90 * DAY,
                good,
                &["certificate.expiring"],
            ),
            (
                &["a.example"],
                &file,
                NEW_YEAR + 101 * DAY,
                good,
                &["certificate.expired"],
            ),
            (
                &["a.example"],
                &file,
                middle,
                bad,
                &["certificate.untrusted"],
            ),
            (
                &["a.example"],
                &ordered,
                middle,
                bad,
                &["certificate.untrusted"],
            ),
            (
                &["a.example"],
                &Meant::Own,
                middle,
                bad,
                &["certificate.self-signed"],
            ),
            (
                &["c.example"],
                &file,
                NEW_YEAR + 101 * DAY,
                bad,
                &[
                    "certificate.expired",
                    "certificate.names",
                    "certificate.untrusted",
                ],
            ),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = judge(&chain, &names, meant, now, roots);
            let ids: Vec<_> = found.iter().map(|finding| finding.id).collect();
            assert_eq!(ids, expected, "{names:?} {now}");
        }
    }

    #[test]
    fn an_authoritys_own_certificate_is_told_apart() {
        let authority = authority();
        let found = judge(
            std::slice::from_ref(&authority.der),
            &[],
            &Meant::File("cert.pem".to_owned()),
            NEW_YEAR,
            &authority.roots,
        );
        let text = &found
            .iter()
            .find(|f| f.id == "certificate.untrusted")
            .unwrap()
            .text;
        assert!(text.contains("of an authority itself"), "{text}");
    }

    #[test]
    fn why_an_order_failed_is_part_of_the_remedy() {
        let remedy = Meant::Ordered(Some("could not make sure: dns".to_owned())).remedy();
        assert!(remedy.contains("could not make sure: dns"), "{remedy}");
        assert_eq!(
            judge(&[], &[], &Meant::Own, 0, &RootCertStore::empty())[0].id,
            "certificate.untrusted"
        );
    }
}
