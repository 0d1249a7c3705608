//! The partition key of the draft, which distinguishes limits of one policy without revealing their keys.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use throttle_core::Key;

use super::parameters::PARTITION_KEY;

/// The shortest secret, in bytes. A shorter one could be found by brute force from a known key.
const MIN_LEN: usize = 16;
/// The number of HMAC bytes that are shown: half, the least that [RFC 2104, section 5] recommends.
///
/// [RFC 2104, section 5]: https://www.rfc-editor.org/rfc/rfc2104#section-5
const SHOWN: usize = 16;
const BLOCK: usize = 64;

/// A secret of the partition key that is too short.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret of the partition key has {0} bytes, but must have at least {MIN_LEN}: use random bytes, for example \
     from `openssl rand -hex 32`"
)]
pub struct ShortSecret(usize);

throttle_core::debug_as_text!(ShortSecret);

/// A secret in the form that HMAC uses: padded to a block, or the digest of a longer secret.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Secret {
    Short(usize),
    Block([u8; BLOCK]),
}

/// A parameter such as `;pk=:MTIzNDU2Nzg5MDEyMzQ1Ng==:`, whose value is a byte sequence (RFC 9651, section 4.1.8).
#[derive(Copy, Clone, Debug)]
pub(super) struct Partition([u8; PARTITION]);

pub(super) const PARTITION: usize = PARTITION_KEY.0.len() + 1 + SHOWN.div_ceil(3) * 4 + 1;

/// A generator of partition keys.
pub(super) struct Partitions(Hmac<Sha256>);

impl Secret {
    pub(super) fn new(secret: &[u8]) -> Self {
        if secret.len() < MIN_LEN {
            return Self::Short(secret.len());
        }
        let digest = Sha256::digest(secret);
        let secret = if secret.len() > BLOCK { &digest[..] } else { secret };
        let mut block = [0; BLOCK];
        for (to, from) in block.iter_mut().zip(secret) {
            *to = *from;
        }
        Self::Block(block)
    }

    pub(super) fn partitions(&self) -> Result<Partitions, ShortSecret> {
        match self {
            Self::Short(len) => Err(ShortSecret(*len)),
            Self::Block(block) => Ok(Partitions(Hmac::new(block.into()))),
        }
    }
}

impl Partitions {
    pub(super) fn of(&self, key: &Key<'_>) -> Partition {
        let mut code = self.0.clone();
        code.update(key.as_bytes());
        let code = code.finalize().into_bytes();
        let mut text = [b':'; PARTITION];
        let (parameter, value) = text.split_at_mut(PARTITION_KEY.0.len());
        parameter.copy_from_slice(PARTITION_KEY.0.as_bytes());
        let shown = code.get(..SHOWN).unwrap_or_default();
        let encoded = STANDARD.encode_slice(shown, value.get_mut(1..).unwrap_or_default());
        debug_assert_eq!(encoded, Ok(value.len() - 2));
        Partition(text)
    }
}

impl Partition {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Partitions(…)")
    }
}

#[cfg(test)]
mod tests {
    use sfv::{BareItem, Item, Parser};

    use super::*;

    fn code(secret: &[u8], key: &[u8]) -> Vec<u8> {
        let partitions = Secret::new(secret).partitions().unwrap();
        let text = partitions.of(&Key::from(key));
        let value = text.as_bytes().strip_prefix(b";pk=").unwrap();
        let item: Item = Parser::new(value).parse().unwrap();
        let BareItem::ByteSequence(bytes) = item.bare_item else { panic!("no byte sequence") };
        bytes
    }

    #[test]
    fn the_code_is_half_of_the_hmac_of_the_specification() {
        // RFC 4231, test cases 1 (a key of 20 bytes), 6 and 7 (of 131 bytes, more than a block).
        let codes: [(&[u8], &[u8], u128); 3] = [
            (&[0x0b; 20], b"Hi There", 0xb0344c61d8db38535ca8afceaf0bf12b),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                0x60e431591ee0b67f0d8a26aacbf5b77f,
            ),
            (
                &[0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
                0x9b09ffa71b942fcb27635fbcd5b0e944,
            ),
        ];
        for (secret, key, expected) in codes {
            assert_eq!(code(secret, key), expected.to_be_bytes());
        }
    }

    #[test]
    fn another_secret_or_key_gives_another_code() {
        let codes = [code(&[1; 16], b"a"), code(&[2; 16], b"a"), code(&[1; 16], b"b")];
        assert!(codes[0] != codes[1] && codes[0] != codes[2]);
        assert_eq!(codes[0], code(&[1; 16], b"a"));
    }

    #[test]
    fn a_short_secret_is_an_error_and_debug_shows_no_secret() {
        for len in 0..MIN_LEN {
            let error = Secret::new(&vec![7; len]).partitions().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{len} bytes")) && error.contains("openssl"),
                "{error}"
            );
        }
        let secret = Secret::new(b"a secret that stays hidden");
        let shown = format!("{secret:?} {:?}", secret.partitions());
        assert_eq!(shown, "… Ok(Partitions(…))");
    }
}
