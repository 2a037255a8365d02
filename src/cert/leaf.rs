//! What a certificate says about itself.

use std::net::IpAddr;

use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::day;

/// Names and validity of a server's own certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// First second of validity, since 1970.
    pub not_before: u64,
    /// Last second of validity, since 1970.
    pub not_after: u64,
}

impl Leaf {
    /// Reads the first certificate of a chain. What cannot be read says nothing.
    pub fn of(key: &CertifiedKey) -> Self {
        key.cert
            .first()
            .and_then(|der| Self::parse(der))
            .unwrap_or_default()
    }

    /// Reads one certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| &names.value.general_names);
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
            _ => None,
        };
        let validity = certificate.validity();
        let seconds = |time: x509_parser::time::ASN1Time| time.timestamp().try_into().unwrap_or(0);
        Some(Self {
            names: names.into_iter().flatten().filter_map(name).collect(),
            not_before: seconds(validity.not_before),
            not_after: seconds(validity.not_after),
        })
    }

    /// When a new one is due: after two thirds of its life, and up to a thirtieth before that, so
    /// that not everybody who ordered on the same day comes back in the same minute.
    pub fn renewal(&self, random: u8) -> u64 {
        let life = self.not_after.saturating_sub(self.not_before);
        let early = life / 30 * u64::from(random) / 255;
        self.not_after.saturating_sub(life / 3 + early)
    }

    /// Whether it names all of these.
    pub fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }

    /// Whether it is valid at `now`, and names at least one of these.
    pub fn serves(&self, names: &[String], now: u64) -> bool {
        let is_valid = (self.not_before..=self.not_after).contains(&now);
        is_valid && names.iter().any(|name| self.names.contains(name))
    }

    /// The end of its validity as people write it.
    pub fn until(&self) -> String {
        day::rfc3339(self.not_after)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_due_when_a_third_of_its_life_is_left() {
        let day = 86_400;
        let leaf = Leaf {
            names: vec!["a.example".to_owned(), "b.example".to_owned()],
            not_before: 1000 * day,
            not_after: 1090 * day,
        };
        assert_eq!(leaf.renewal(0), 1060 * day);
        assert_eq!(leaf.renewal(255), 1057 * day);
        assert!((1057 * day..1060 * day).contains(&leaf.renewal(100)));
        assert!(leaf.covers(&["b.example".to_owned()]));
        assert!(!leaf.covers(&["c.example".to_owned()]));
        let both = ["c.example".to_owned(), "a.example".to_owned()];
        assert!(!leaf.covers(&both));
        assert!(leaf.serves(&both, 1090 * day));
        assert!(!leaf.serves(&both, 1090 * day + 1));
        assert!(!leaf.serves(&both, 1000 * day - 1));
        assert!(!leaf.serves(&["c.example".to_owned()], 1050 * day));
        let nothing = Leaf::default();
        assert_eq!(nothing.renewal(255), 0);
    }

    #[test]
    fn names_and_addresses_are_read_from_the_certificate() {
        let names = ["a.example".to_owned(), "192.0.2.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let leaf = Leaf::parse(made.cert.der()).unwrap();
        assert_eq!(leaf.names, ["a.example", "192.0.2.1"]);
        assert!(leaf.not_before < leaf.not_after);
        assert_eq!(Leaf::parse(b"nothing"), None);
    }
}
