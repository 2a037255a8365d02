//! Our codec and the `stun-types` crate must read the same bytes the same way.

use proptest::prelude::*;
use stun_types::attribute::{
    Attribute as _, AttributeType as TheirType, RawAttribute, XorMappedAddress,
};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message as Theirs, MessageClass,
    MessageIntegrityCredentials, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
    Method as TheirMethod,
};

use super::properties::{Draft, draft, key, socket_addr};
use crate::turn::stun::attribute::RawAttributes;
use crate::turn::stun::message::Fingerprint;
use crate::turn::stun::{Algorithm, AttributeType, Class, Message, Method, TransactionId, Writer};

const SEALS: [AttributeType; 3] = [
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::FINGERPRINT,
];

fn credentials() -> LongTermKeyCredentials {
    LongTermKeyCredentials::new("user".into(), "password".into(), "realm".into())
}

fn class(class: Class) -> MessageClass {
    match class {
        Class::Request => MessageClass::Request,
        Class::Indication => MessageClass::Indication,
        Class::Success => MessageClass::Success,
        Class::Error => MessageClass::Error,
    }
}

/// The same message, written by the other implementation.
fn their_writing(draft: &Draft) -> Vec<u8> {
    let kind = MessageType::from_class_method(class(draft.class), TheirMethod::new(draft.method));
    let mut id = [0; 16];
    id[4..].copy_from_slice(&draft.id);
    let id = u128::from_be_bytes(id).into();
    let mut writer = Theirs::builder(kind, id, MessageWriteVec::new());
    for (kind, value) in &draft.attributes {
        let raw = RawAttribute::new(TheirType::new(*kind), value);
        writer.push_attribute_unchecked(&raw);
    }
    let credentials: MessageIntegrityCredentials = credentials().into();
    if draft.seals.sha1 {
        writer
            .add_message_integrity(&credentials, IntegrityAlgorithm::Sha1)
            .unwrap();
    }
    if draft.seals.sha256 {
        writer
            .add_message_integrity(&credentials, IntegrityAlgorithm::Sha256)
            .unwrap();
    }
    if draft.seals.fingerprint {
        writer.add_fingerprint().unwrap();
    }
    writer.finish()
}

fn attributes(bytes: &[u8]) -> Vec<(usize, u16, Vec<u8>)> {
    let message = Message::parse(bytes).unwrap();
    message
        .attributes()
        .map(|a| (a.offset, a.kind.0, a.value.to_vec()))
        .collect()
}

fn their_attributes(theirs: &Theirs<'_>) -> Vec<(usize, u16, Vec<u8>)> {
    theirs
        .iter_attributes()
        .map(|(offset, raw)| (offset, raw.get_type().value(), raw.value.to_vec()))
        .collect()
}

proptest! {
    #[test]
    fn both_write_the_same_bytes(draft in draft()) {
        prop_assert_eq!(draft.write(), their_writing(&draft));
    }

    #[test]
    fn both_read_the_same_message(draft in draft()) {
        let bytes = draft.write();
        let ours = Message::parse(&bytes).unwrap();
        let theirs = Theirs::from_bytes(&bytes).unwrap();
        prop_assert_eq!(theirs.class(), class(ours.class()));
        prop_assert_eq!(theirs.method().value(), ours.method().value());
        prop_assert_eq!(u128::from(theirs.transaction_id()).to_be_bytes()[4..].to_vec(), draft.id.to_vec());
        prop_assert_eq!(their_attributes(&theirs), attributes(&bytes));
        for (algorithm, present) in [
            (IntegrityAlgorithm::Sha1, draft.seals.sha1),
            (IntegrityAlgorithm::Sha256, draft.seals.sha256),
        ] {
            let key = credentials().make_key(algorithm);
            prop_assert_eq!(theirs.validate_integrity_with_key(&key).is_ok(), present);
        }
    }

    #[test]
    fn both_mask_addresses_alike(addr in socket_addr(), id in any::<[u8; 12]>()) {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out, Class::Success, Method::BINDING, TransactionId(id));
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr);
        let len = writer.finish().unwrap();
        let theirs = Theirs::from_bytes(&out[..len]).unwrap();
        let mapped = theirs.attribute::<XorMappedAddress>().unwrap();
        prop_assert_eq!(mapped.addr(theirs.transaction_id()), addr);
    }

    /// They may differ on damaged bytes only so: they do not mind bytes behind the message, a
    /// length that is no multiple of four, or broken framing behind the first seal; they look no
    /// further than the first stray attribute behind a seal, where RFC 8489 section 9 wants it
    /// ignored; and they refuse at once what we call an invalid fingerprint.
    #[test]
    fn both_judge_damaged_messages_alike_but_for_strictness(
        draft in draft(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = draft.write();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut.index(4) == 0 {
            let len = cut.index(bytes.len());
            bytes.truncate(len);
        }
        let ours = Message::parse(&bytes);
        let theirs = Theirs::from_bytes(&bytes);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                let ours_all = attributes(&bytes);
                let theirs_all = their_attributes(theirs);
                prop_assert!(ours_all.starts_with(&theirs_all));
                let more = &ours_all[theirs_all.len()..];
                prop_assert!(more.iter().all(|(_, kind, _)| SEALS.contains(&AttributeType(*kind))));
                let sha1 = credentials().make_key(IntegrityAlgorithm::Sha1);
                if ours.verify_sha1(&key(Algorithm::Md5)) {
                    prop_assert!(theirs.validate_integrity_with_key(&sha1).is_ok());
                }
                let sha256 = credentials().make_key(IntegrityAlgorithm::Sha256);
                if ours.verify_sha256(&key(Algorithm::Sha256)) {
                    prop_assert!(theirs.validate_integrity_with_key(&sha256).is_ok());
                }
            }
            (Ok(ours), Err(_)) => {
                prop_assert_eq!(ours.fingerprint(), Fingerprint::Invalid);
            }
            (Err(_), Ok(_)) => {
                let claimed = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
                let exact = 20 + claimed == bytes.len() && claimed.is_multiple_of(4);
                let sealed = RawAttributes::new(&bytes).any(|a| SEALS.contains(&a.kind));
                prop_assert!(!exact || sealed);
            }
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn a_broken_attribute_in_front_of_the_seals_is_broken_for_both(
        draft in draft().prop_filter("open", |draft| !draft.is_sealed() && !draft.attributes.is_empty()),
        excess in 4_u16..100,
    ) {
        let mut bytes = draft.write();
        let (_, last) = draft.attributes.last().unwrap();
        let at = bytes.len() - last.len().next_multiple_of(4) - 2;
        let claimed = (last.len().next_multiple_of(4) as u16) + excess;
        bytes[at..at + 2].copy_from_slice(&claimed.to_be_bytes());
        prop_assert!(Message::parse(&bytes).is_err());
        prop_assert!(Theirs::from_bytes(&bytes).is_err());
    }
}
