//! What a certificate binds a connection to: its digest, by the function that its own signature uses (RFC 5929).
//!
//! Only two levels of the certificate's DER are looked at, to find the signature's algorithm.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Object identifiers, as DER has them, whose digest is SHA-256: MD5 and SHA-1 count as it, too.
const SHA256: [&[u8]; 4] = [
    &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x04],
    &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x05],
    &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B],
    &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02],
];
const SHA384: [&[u8]; 2] =
    [&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0C], &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03]];
const SHA512: [&[u8]; 2] =
    [&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0D], &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x04]];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The data of `tls-server-end-point`; `None` where the signature has no digest of its own (Ed25519, RSA-PSS).
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signature_algorithm(certificate)?;
    if SHA256.contains(&algorithm) {
        Some(Sha256::digest(certificate).to_vec())
    } else if SHA384.contains(&algorithm) {
        Some(Sha384::digest(certificate).to_vec())
    } else if SHA512.contains(&algorithm) {
        Some(Sha512::digest(certificate).to_vec())
    } else {
        None
    }
}

fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(SEQUENCE, certificate)?;
    let (_signed, rest) = element(SEQUENCE, certificate)?;
    let (algorithm, _signature) = element(SEQUENCE, rest)?;
    Some(element(OBJECT_IDENTIFIER, algorithm)?.0)
}

/// The contents of the element of kind `tag` that `der` begins with, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = der else { return None };
    if *first != tag {
        return None;
    }
    let (length, rest) = match *length {
        length @ 0..=0x7F => (usize::from(length), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["db.example.com".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_digest_is_that_of_the_signature() {
        let sha256 = made_with(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point(&sha256), Some(Sha256::digest(&sha256).to_vec()));
        let rsa = made_with(&rcgen::PKCS_RSA_SHA256);
        assert_eq!(end_point(&rsa), Some(Sha256::digest(&rsa).to_vec()));
        let sha384 = made_with(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(end_point(&sha384), Some(Sha384::digest(&sha384).to_vec()));
        let sha512 = made_with(&rcgen::PKCS_RSA_SHA512);
        assert_eq!(end_point(&sha512), Some(Sha512::digest(&sha512).to_vec()));
        assert_eq!(end_point(&made_with(&rcgen::PKCS_ED25519)), None);
    }

    #[test]
    fn half_a_certificate_has_none() {
        let whole = made_with(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..whole.len() {
            assert_eq!(end_point(&whole[..length]), None, "{length}");
        }
        assert_eq!(end_point(&[SEQUENCE, 0x85, 1, 1, 1, 1, 1]), None);
        assert_eq!(end_point(&[SEQUENCE, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
    }
}
