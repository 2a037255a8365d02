//! How TLS handshakes end, sorted into a handful of reasons that tell an operator something.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{AlertDescription, Error};

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Not within the time.
    Slow,
    /// The client hung up.
    Gone,
    /// The client does not believe our certificate.
    Distrusted,
    /// No version, cipher or key exchange in common.
    Incompatible,
    /// The client names only application protocols that are not spoken here.
    Protocol,
    /// The client sent what no client should.
    Malformed,
    /// Anything else.
    Other,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Done,
        Self::Slow,
        Self::Gone,
        Self::Distrusted,
        Self::Incompatible,
        Self::Protocol,
        Self::Malformed,
        Self::Other,
    ];

    /// How the metrics page calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Slow => "timeout",
            Self::Gone => "closed",
            Self::Distrusted => "certificate_rejected",
            Self::Incompatible => "incompatible",
            Self::Protocol => "no_protocol",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    /// What an error of the handshake stands for.
    pub(super) fn of(error: &io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            Some(error) => Self::of_tls(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::TimedOut => Self::Gone,
                _ => Self::Other,
            },
        }
    }

    fn of_tls(error: &Error) -> Self {
        use AlertDescription as Alert;
        match error {
            Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied,
            ) => Self::Distrusted,
            Error::AlertReceived(
                Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity,
            )
            | Error::PeerIncompatible(_) => Self::Incompatible,
            Error::AlertReceived(Alert::CloseNotify | Alert::UserCanceled) => Self::Gone,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::Malformed,
            _ => Self::Other,
        }
    }
}

/// Handshakes so far.
#[derive(Debug, Default)]
pub struct Handshakes([AtomicU64; Outcome::ALL.len()]);

impl Handshakes {
    pub(super) fn count(&self, outcome: Outcome) {
        let at = Outcome::ALL.iter().position(|known| *known == outcome);
        if let Some(counter) = at.and_then(|at| self.0.get(at)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each outcome and its number.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Outcome::ALL.into_iter().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_not_trust_us_is_told_from_one_that_hung_up() {
        let tls = |error| Outcome::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, outcome) in [
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                Outcome::Distrusted,
            ),
            (
                Error::AlertReceived(AlertDescription::ProtocolVersion),
                Outcome::Incompatible,
            ),
            (Error::NoApplicationProtocol, Outcome::Protocol),
            (Error::DecryptError, Outcome::Malformed),
            (Error::General("odd".to_owned()), Outcome::Other),
        ] {
            assert_eq!(tls(error), outcome);
        }
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Outcome::of(&eof), Outcome::Gone);
        let handshakes = Handshakes::default();
        handshakes.count(Outcome::Gone);
        let counted: Vec<_> = handshakes.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Outcome::Gone, 1)]);
    }
}
