//! What must hold for every message, and for bytes that are none.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::turn::stun::address::decode_xor;
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{
    Algorithm, AttributeType, Class, Key, Message, Method, TransactionId, Writer,
};

/// A message as a test describes it, before it is bytes.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) class: Class,
    pub(super) method: u16,
    pub(super) id: [u8; 12],
    pub(super) attributes: Vec<(u16, Vec<u8>)>,
    pub(super) seals: Seals,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Seals {
    pub(super) sha1: bool,
    pub(super) sha256: bool,
    pub(super) fingerprint: bool,
}

pub(super) fn key(algorithm: Algorithm) -> Key {
    Key::long_term(algorithm, b"user", b"realm", b"password")
}

impl Draft {
    pub(super) fn write(&self) -> Vec<u8> {
        // Dirty, so that whatever is not written shows.
        let mut out = vec![0xA5; 4096];
        let mut writer = Writer::new(
            &mut out,
            self.class,
            Method::new(self.method),
            TransactionId(self.id),
        );
        for (kind, value) in &self.attributes {
            writer.attribute(AttributeType(*kind), value);
        }
        if self.seals.sha1 {
            writer.message_integrity(&key(Algorithm::Md5));
        }
        if self.seals.sha256 {
            writer.message_integrity_sha256(&key(Algorithm::Sha256));
        }
        if self.seals.fingerprint {
            writer.fingerprint();
        }
        let len = writer.finish().unwrap();
        out.truncate(len);
        out
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.seals.sha1 || self.seals.sha256 || self.seals.fingerprint
    }
}

/// Attributes that end a message have their own tests.
fn ordinary(kind: &u16) -> bool {
    ![0x0008, 0x001C, 0x8028].contains(kind)
}

pub(super) fn draft() -> impl Strategy<Value = Draft> {
    let class = prop_oneof![
        Just(Class::Request),
        Just(Class::Indication),
        Just(Class::Success),
        Just(Class::Error),
    ];
    let attribute = (
        any::<u16>().prop_filter("ordinary", ordinary),
        vec(any::<u8>(), 0..80),
    );
    let seals =
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(sha1, sha256, fingerprint)| {
            Seals {
                sha1,
                sha256,
                fingerprint,
            }
        });
    (
        class,
        0_u16..0x1000,
        any::<[u8; 12]>(),
        vec(attribute, 0..8),
        seals,
    )
        .prop_map(|(class, method, id, attributes, seals)| Draft {
            class,
            method,
            id,
            attributes,
            seals,
        })
}

pub(super) fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Everything that can be asked of a message: none of it may panic.
pub(super) fn exercise(message: &Message<'_>) -> usize {
    let id = message.transaction_id();
    let addresses = message
        .attributes()
        .filter(|attribute| decode_xor(attribute.value, id).is_some())
        .count();
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        message.verify_sha1(&key(algorithm));
        message.verify_sha256(&key(algorithm));
    }
    message.fingerprint();
    addresses
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(draft in draft()) {
        let bytes = draft.write();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.class(), draft.class);
        prop_assert_eq!(message.method().value(), draft.method);
        prop_assert_eq!(message.transaction_id().0, draft.id);
        let read: Vec<(u16, Vec<u8>)> = message
            .attributes()
            .map(|a| (a.kind.0, a.value.to_vec()))
            .filter(|(kind, _)| ordinary(kind))
            .collect();
        prop_assert_eq!(&read, &draft.attributes);
        prop_assert_eq!(message.verify_sha1(&key(Algorithm::Md5)), draft.seals.sha1);
        prop_assert_eq!(message.verify_sha256(&key(Algorithm::Sha256)), draft.seals.sha256);
        let fingerprint = if draft.seals.fingerprint { Fingerprint::Valid } else { Fingerprint::Absent };
        prop_assert_eq!(message.fingerprint(), fingerprint);
        prop_assert!(!message.verify_sha1(&Key::long_term(Algorithm::Md5, b"user", b"realm", b"other")));
    }

    #[test]
    fn padding_is_zero(value in vec(1_u8.., 0..40)) {
        let draft = Draft {
            class: Class::Request,
            method: 1,
            id: [1; 12],
            attributes: vec![(6, value.clone())],
            seals: Seals { sha1: false, sha256: false, fingerprint: false },
        };
        let bytes = draft.write();
        prop_assert!(bytes[24 + value.len()..].iter().all(|byte| *byte == 0));
        prop_assert!(bytes.len().is_multiple_of(4));
    }

    #[test]
    fn one_flipped_bit_spoils_whatever_seals_it(draft in draft(), bit in any::<prop::sample::Index>()) {
        let intact = draft.write();
        let bit = bit.index(intact.len() * 8);
        let mut spoiled = intact.clone();
        spoiled[bit / 8] ^= 1 << (bit % 8);
        // What remains a message may still carry an intact seal only in front of the damage.
        if let Ok(message) = Message::parse(&spoiled) {
            let before = |kind| {
                Message::parse(&intact).unwrap().find(kind).is_some_and(|a| bit / 8 < a.offset + 4 + a.value.len())
            };
            if before(AttributeType::MESSAGE_INTEGRITY) {
                prop_assert!(!message.verify_sha1(&key(Algorithm::Md5)));
            }
            if before(AttributeType::MESSAGE_INTEGRITY_SHA256) {
                prop_assert!(!message.verify_sha256(&key(Algorithm::Sha256)));
            }
            if draft.seals.fingerprint {
                prop_assert!(message.fingerprint() != Fingerprint::Valid);
            }
        }
    }

    #[test]
    fn nothing_behind_a_seal_counts_but_a_stronger_seal(
        draft in draft().prop_filter("sealed", Draft::is_sealed),
        kind in any::<u16>().prop_filter("ordinary", ordinary),
        value in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = draft.write();
        let count = Message::parse(&bytes).unwrap().attributes().count();
        bytes.extend(kind.to_be_bytes());
        bytes.extend((value.len() as u16).to_be_bytes());
        bytes.extend(&value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let len = (bytes.len() - 20) as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.attributes().count(), count);
        if draft.seals.fingerprint {
            prop_assert_eq!(message.fingerprint(), Fingerprint::Invalid, "it is no longer last");
        }
        prop_assert_eq!(message.verify_sha1(&key(Algorithm::Md5)), draft.seals.sha1);
        prop_assert_eq!(message.verify_sha256(&key(Algorithm::Sha256)), draft.seals.sha256);
    }

    #[test]
    fn addresses_survive_the_mask(addr in socket_addr(), id in any::<[u8; 12]>()) {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out, Class::Success, Method::BINDING, TransactionId(id));
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr);
        let len = writer.finish().unwrap();
        let message = Message::parse(&out[..len]).unwrap();
        let value = message.value(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        prop_assert_eq!(decode_xor(value, message.transaction_id()), Some(addr));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(&bytes) {
            exercise(&message);
        }
    }

    #[test]
    fn arbitrary_attributes_never_panic(
        kind in 0_u16..0x4000,
        chunks in vec((any::<u16>(), 0_u16..40, vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let mut attributes = Vec::new();
        for (kind, len, value) in chunks {
            attributes.extend(kind.to_be_bytes());
            attributes.extend(len.to_be_bytes());
            attributes.extend(value);
        }
        attributes.truncate(attributes.len() / 4 * 4);
        if let Ok(message) = Message::parse(&super::message(kind, &attributes)) {
            exercise(&message);
        }
    }

    #[test]
    fn a_buffer_of_any_size_is_overrun_by_nothing(draft in draft(), size in 0_usize..300) {
        let whole = draft.write();
        let mut out = vec![0; size];
        let mut writer = Writer::new(&mut out, draft.class, Method::new(draft.method), TransactionId(draft.id));
        for (kind, value) in &draft.attributes {
            writer.attribute(AttributeType(*kind), value);
        }
        if draft.seals.sha1 {
            writer.message_integrity(&key(Algorithm::Md5));
        }
        if draft.seals.sha256 {
            writer.message_integrity_sha256(&key(Algorithm::Sha256));
        }
        if draft.seals.fingerprint {
            writer.fingerprint();
        }
        let fits = writer.finish();
        prop_assert_eq!(fits.ok(), (whole.len() <= size).then_some(whole.len()));
    }

    #[test]
    fn a_cut_sha256_seal_is_good_down_to_16_bytes(len in 0_usize..=32) {
        let draft = Draft {
            class: Class::Request,
            method: 3,
            id: [9; 12],
            attributes: vec![(6, b"name".to_vec())],
            seals: Seals { sha1: false, sha256: false, fingerprint: false },
        };
        // The HMAC covers a length field that counts the seal as it is sent, so each cut is
        // another seal: made by writing the whole one over a header that says the shorter length.
        let padded = len.next_multiple_of(4);
        let mut bytes = draft.write();
        let body = bytes.len();
        let claimed = (body - 20 + 4 + padded) as u16;
        bytes[2..4].copy_from_slice(&claimed.to_be_bytes());
        let tag = super::super::integrity::sha256(&bytes, body, len, &key(Algorithm::Sha256));
        bytes.extend([0, 0x1C, 0, len as u8]);
        bytes.extend(&tag.as_ref()[..len]);
        bytes.resize(body + 4 + padded, 0);
        let message = Message::parse(&bytes).unwrap();
        let good = len >= 16 && len.is_multiple_of(4);
        prop_assert_eq!(message.verify_sha256(&key(Algorithm::Sha256)), good);
    }
}
