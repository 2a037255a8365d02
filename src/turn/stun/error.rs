//! Error codes and their attribute (RFC 8489 section 14.8, RFC 8656 section 19).

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// 300
    TryAlternate = 300,
    /// 400
    BadRequest = 400,
    /// 401
    Unauthenticated = 401,
    /// 403
    Forbidden = 403,
    /// 420
    UnknownAttribute = 420,
    /// 437
    AllocationMismatch = 437,
    /// 438
    StaleNonce = 438,
    /// 440
    AddressFamilyNotSupported = 440,
    /// 441
    WrongCredentials = 441,
    /// 442
    UnsupportedTransport = 442,
    /// 443
    PeerAddressFamilyMismatch = 443,
    /// 446
    ConnectionAlreadyExists = 446,
    /// 447
    ConnectionTimeoutOrFailure = 447,
    /// 486
    AllocationQuotaReached = 486,
    /// 500
    ServerError = 500,
    /// 508
    InsufficientCapacity = 508,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::TryAlternate,
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::UnknownAttribute,
        Self::AllocationMismatch,
        Self::StaleNonce,
        Self::AddressFamilyNotSupported,
        Self::WrongCredentials,
        Self::UnsupportedTransport,
        Self::PeerAddressFamilyMismatch,
        Self::ConnectionAlreadyExists,
        Self::ConnectionTimeoutOrFailure,
        Self::AllocationQuotaReached,
        Self::ServerError,
        Self::InsufficientCapacity,
    ];

    /// The number.
    pub const fn value(self) -> u16 {
        self as u16
    }

    /// The first four bytes of the attribute: two reserved, the hundreds, the rest.
    pub(super) const fn encode(self) -> [u8; 4] {
        let value = self as u16;
        [0, 0, (value / 100) as u8, (value % 100) as u8]
    }
}

/// Reads the number out of an ERROR-CODE value.
pub fn decode(value: &[u8]) -> Option<u16> {
    let &[_, _, class, number] = value.first_chunk::<4>()?;
    let class = class & 0x07;
    (3..=6)
        .contains(&class)
        .then(|| u16::from(class) * 100 + u16::from(number))
        .filter(|_| number < 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_split_into_hundreds() {
        for code in [
            ErrorCode::TryAlternate,
            ErrorCode::Unauthenticated,
            ErrorCode::StaleNonce,
            ErrorCode::InsufficientCapacity,
        ] {
            assert_eq!(decode(&code.encode()), Some(code.value()));
        }
        assert_eq!(decode(&[0, 0, 4]), None);
        assert_eq!(decode(&[0, 0, 7, 0]), None);
        assert_eq!(decode(&[0, 0, 4, 100]), None);
    }
}
