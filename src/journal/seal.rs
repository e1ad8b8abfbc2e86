//! The seal: the last hash, signed; and the check of a whole journal against it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Journal, JournalError, Kind, SegmentHead,
    segment::{Step, Walk},
    segment_path, segments,
    writer::chain,
};
use crate::keys::{self, SigningKey, hex};

/// The payload of a journal's last frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Hash over all frames before this one, hexadecimal.
    pub chain: String,
    /// How many they are.
    pub frames: u64,
    /// Ed25519 signature over the 32 bytes of `chain`, hexadecimal.
    pub signature: String,
    /// The daemon's public key, hexadecimal.
    pub public_key: String,
}

/// What checking a journal found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Good frames.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Hash over all of them, hexadecimal; over those before the seal, where there is one.
    pub chain: String,
    /// The seal, if the journal has ended; its signature is good.
    pub seal: Option<Seal>,
}

impl Journal {
    /// Signs the last hash and takes nothing more. Sealing again does nothing.
    pub async fn seal(&self, key: &SigningKey) -> Result<(), JournalError> {
        let seq = self.append_seal(|chain, frames| {
            let seal = Seal {
                chain: hex(&chain),
                frames,
                signature: hex(&key.sign(&chain)),
                public_key: key.public_hex(),
            };
            serde_json::to_vec(&seal).unwrap_or_default()
        })?;
        self.commit(seq).await
    }
}

/// Walks a whole journal: checksums, numbers, the chain at each segment, and the seal.
pub fn verify(dir: &Path) -> Result<Verified, JournalError> {
    let mut hash = [0; 32];
    let mut found = Verified { frames: 0, bytes: 0, chain: hex(&hash), seal: None };
    for first in segments(dir)? {
        let path = segment_path(dir, first);
        let mut walk = Walk::open(&path, 0, first)?;
        loop {
            let at = walk.offset;
            let damaged = |problem: String| JournalError::Damaged { path: path.clone(), at, problem };
            let Step::Frame(head, header, payload) = walk.step(|_| true)? else { break };
            if head.seq != found.frames + 1 {
                return Err(damaged(format!("frame {} stands where {} should", head.seq, found.frames + 1)));
            }
            if found.seal.is_some() {
                return Err(damaged("a frame stands behind the seal".to_owned()));
            }
            match head.kind {
                Kind::Segment => {
                    let segment: SegmentHead =
                        serde_json::from_slice(&payload).map_err(|e| damaged(e.to_string()))?;
                    if segment.chain != hex(&hash) {
                        return Err(damaged(
                            "the frames before this segment are not those it was begun after".to_owned(),
                        ));
                    }
                }
                Kind::Seal => {
                    let seal: Seal = serde_json::from_slice(&payload).map_err(|e| damaged(e.to_string()))?;
                    if seal.chain != hex(&hash) || !keys::verify_hex(&seal.public_key, &hash, &seal.signature)
                    {
                        return Err(damaged("the seal does not match the frames before it".to_owned()));
                    }
                    found.seal = Some(seal);
                }
                _ => {}
            }
            found.frames = head.seq;
            found.bytes += (header.len() + payload.len()) as u64;
            if found.seal.is_none() {
                hash = chain(&hash, &header, &payload);
                found.chain = hex(&hash);
            }
        }
    }
    Ok(found)
}
