//! What became of a call's way through the network, as a client reports it. Kinds only, never an
//! address. Pure.

/// How a call was connected, or that it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(usize);

impl Outcome {
    /// All there are: path and transport.
    pub const ALL: [(&'static str, &'static str); 8] = [
        ("host", "udp"),
        ("host", "tcp"),
        ("srflx", "udp"),
        ("srflx", "tcp"),
        ("relay", "udp"),
        ("relay", "tcp"),
        ("relay", "tls"),
        ("failed", "none"),
    ];

    /// The outcome with these names; a failure has no transport.
    pub fn new(path: &str, transport: Option<&str>) -> Option<Self> {
        let wanted = (path, transport.unwrap_or("none"));
        let index = Self::ALL.iter().position(|known| *known == wanted)?;
        Some(Self(index))
    }

    /// Its place in [`Outcome::ALL`].
    pub fn index(self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_one_of_few() {
        for (index, (path, transport)) in Outcome::ALL.into_iter().enumerate() {
            let outcome = Outcome::new(path, Some(transport)).unwrap();
            assert_eq!(outcome.index(), index);
        }
        assert_eq!(
            Outcome::new("failed", None),
            Outcome::new("failed", Some("none"))
        );
        for (path, transport) in [
            ("relay", None),
            ("failed", Some("udp")),
            ("192.0.2.1", Some("udp")),
            ("host", Some("tls")),
            ("", Some("")),
        ] {
            assert_eq!(Outcome::new(path, transport), None, "{path}");
        }
    }
}
