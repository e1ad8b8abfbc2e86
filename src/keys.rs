//! Secrets: the daemon's signing key, random tokens, and what is stored of them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Signs the records of this daemon's sessions: Ed25519 (RFC 8032).
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("signing key {0}: {1}")]
    Io(String, io::Error),
    /// The file holds something else.
    #[error(
        "signing key {0}: it is not 32 bytes of hexadecimal; put the right file back, or move it away to make a new key"
    )]
    Form(String),
    /// Others may read it.
    #[error("signing key {0}: its mode is {1:o}; nobody but the daemon may read it: chmod 600 it")]
    Mode(String, u32),
}

impl SigningKey {
    /// The key in this file, made with mode 0600 if there is none.
    pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
        let name = path.display().to_string();
        match fs::read_to_string(path) {
            Ok(text) => {
                let mode =
                    fs::metadata(path).map_err(|e| KeyError::Io(name.clone(), e))?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(KeyError::Mode(name, mode & 0o777));
                }
                let bytes = unhex::<32>(text.trim()).ok_or(KeyError::Form(name))?;
                Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = rand::random();
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|e| KeyError::Io(name.clone(), e))?;
                writeln!(file, "{}", hex(&bytes))
                    .and_then(|()| file.sync_all())
                    .map_err(|e| KeyError::Io(name, e))?;
                Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&bytes)))
            }
            Err(error) => Err(KeyError::Io(name, error)),
        }
    }

    /// Signs; 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// A secret for one purpose, hexadecimal: without the key it tells nothing of another.
    pub fn derive(&self, purpose: &str) -> String {
        blake3::keyed_hash(self.0.as_bytes(), purpose.as_bytes()).to_hex().to_string()
    }

    /// The public key, hexadecimal.
    pub fn public_hex(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }
}

/// Whether `signature` over `message` is this public key's; both in hexadecimal.
pub fn verify_hex(public_key: &str, message: &[u8], signature: &str) -> bool {
    let (Some(key), Some(signature)) = (unhex::<32>(public_key), unhex::<64>(signature)) else {
        return false;
    };
    VerifyingKey::from_bytes(&key)
        .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(&signature)).is_ok())
}

/// A new random secret of 256 bits, in URL-safe characters, with a prefix that says what it is for.
pub fn secret(prefix: &str) -> String {
    let bytes: [u8; 32] = rand::random();
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored of a secret. A plain SHA-256 will do: 256 random bits cannot be guessed from it.
pub fn hash_secret(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Compares two hashes, or two secrets as long as them, in a time that does not tell where they differ.
pub fn same_hash(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `N` bytes from hexadecimal.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N * 2 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_signs() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("signing.key");
        let made = SigningKey::load_or_create(&path).expect("made");
        let loaded = SigningKey::load_or_create(&path).expect("loaded");
        assert_eq!(made.public_hex(), loaded.public_hex());
        let signature = hex(&made.sign(b"record"));
        assert!(verify_hex(&loaded.public_hex(), b"record", &signature));
        assert!(!verify_hex(&loaded.public_hex(), b"another", &signature));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("signing.key");
        SigningKey::load_or_create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(matches!(SigningKey::load_or_create(&path), Err(KeyError::Mode(_, 0o644))));
    }

    #[test]
    fn secrets_differ_and_only_their_hash_matches() {
        let (a, b) = (secret("inv"), secret("inv"));
        assert_ne!(a, b);
        assert!(same_hash(&hash_secret(&a), &hash_secret(&a)));
        assert!(!same_hash(&hash_secret(&a), &hash_secret(&b)));
    }
}
