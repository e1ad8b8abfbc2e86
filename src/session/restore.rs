//! What an earlier daemon left of a session: its journal opened, mended, and folded up to the last frame.
//!
//! ```text
//!   journal/        the truth: a torn tail is cut, and that it was is noted
//!   keyframes       spares replaying the screen from the start  ┐ thrown away where they stand for frames
//!   summary.json    spares folding the summary from the start   ┘ that were cut
//! ```

use std::{fs, io, path::Path};

use sandbox_guest::wire;
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    event::Lifecycle,
    id::SessionId,
    journal::{Index, Journal, JournalError, Kind, Reader, Recovered},
    recorder::{self, Recorder},
    screen::Screen,
    spec::Spec,
    summary::Summary,
};

/// File of the summary so far: [`Kept`].
pub(super) const SUMMARY: &str = "summary.json";

/// Grows when the summary counts what it did not before, or no longer counts what it did.
pub(super) const FOLD: u32 = 3;

/// What a daemon keeps of its fold over the journal. All of it can be had from the frames again, but for input
/// that leaves none.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// [`FOLD`] of the daemon that kept it: what an earlier fold left is folded anew.
    pub(super) fold: u32,
    /// The last frame that it stands for.
    pub(super) seq: u64,
    pub(super) summary: Summary,
    /// Last output, input or telemetry, in µs since the Unix epoch.
    pub(super) active: u64,
}

/// A session as its last daemon left it.
pub struct Restored {
    /// Its journal, with the summary of all that is in it.
    pub recorder: Recorder,
    /// Its keyframes.
    pub index: Index,
    /// The screen as of the last frame.
    pub screen: Screen,
    /// The last record of the guest that is in the journal.
    pub last_record: u64,
    /// Bytes of a torn tail that were cut off.
    pub cut_bytes: u64,
    /// Frames that were on the disk once and are not any more: the first and the last.
    pub lost: Option<(u64, u64)>,
}

impl Restored {
    /// Takes over what is in the folder `dir`.
    pub fn open(dir: &Path, id: SessionId, spec: &Spec) -> Result<Restored, JournalError> {
        let (journal, recovered) = Journal::open(&dir.join("journal"), id)?;
        let (index, screen) = screen(dir, journal.dir(), recovered.last_seq, spec)?;
        let (summary, active) = summary(dir, journal.dir(), recovered.last_seq)?;
        let recorder = Recorder::new(journal, recovered.last_seq, summary, active);
        let Recovered { last_record, cut_bytes, lost, .. } = recovered;
        Ok(Restored { recorder, index, screen, last_record, cut_bytes, lost })
    }

    /// Notes in the journal that it was taken over, and how.
    pub fn note(&self) {
        let event = Lifecycle::Adopted { version: env!("CARGO_PKG_VERSION").to_owned() };
        self.recorder.note(Kind::Lifecycle, &event);
        if self.cut_bytes > 0 {
            let journal = self.recorder.journal().dir().display();
            tracing::warn!(%journal, cut_bytes = self.cut_bytes, "the journal had a torn tail");
            self.recorder.note(Kind::Lifecycle, &Lifecycle::Repaired { cut_bytes: self.cut_bytes });
        }
        if let Some((from, through)) = self.lost {
            let journal = self.recorder.journal().dir().display();
            tracing::error!(%journal, from, through, "frames are lost that had been on the disk");
            self.recorder.note(Kind::Lifecycle, &Lifecycle::FramesLost { from, through });
        }
    }
}

/// The screen as of the last frame: the last keyframe, and what came after it.
fn screen(dir: &Path, journal: &Path, last: u64, spec: &Spec) -> Result<(Index, Screen), JournalError> {
    let error = |error| JournalError::Io { path: dir.join("keyframes"), error };
    let mut index = Index::open(dir).map_err(error)?;
    index.forget_after(last).map_err(error)?;
    let mut screen = Screen::new(spec.cols, spec.rows);
    let mut from = 1;
    if let Some(keyframe) = index.last() {
        screen = Screen::new(keyframe.cols, keyframe.rows);
        screen.advance(&keyframe.screen);
        from = keyframe.seq + 1;
    }
    for entry in Reader::open(journal, from) {
        let entry = entry?;
        match entry.kind {
            Kind::Output => screen.advance(&entry.payload),
            Kind::Resize => {
                if let Some((cols, rows)) = wire::decode_size(&entry.payload) {
                    screen.resize(cols, rows);
                }
            }
            _ => {}
        }
    }
    Ok((index, screen))
}

/// The summary that was kept, with the frames after it; and when the session was last active. One that never was
/// counts from its beginning, as it does for the daemon that begins it.
fn summary(dir: &Path, journal: &Path, last: u64) -> Result<(Summary, u64), JournalError> {
    let path = dir.join(SUMMARY);
    let mut kept = kept_summary(&path);
    if kept.as_ref().is_some_and(|kept| kept.seq > last) {
        // Left there, it would be believed by a daemon that finds the journal grown again.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::Io { path, error });
            }
            _ => kept = None,
        }
    }
    let (seq, mut summary, mut active) =
        kept.map_or_else(Default::default, |Kept { seq, summary, active, .. }| (seq, summary, active));
    for entry in Reader::open(journal, seq + 1) {
        let entry = entry?;
        if active == 0 || recorder::is_activity(entry.kind) {
            active = active.max(entry.time);
        }
        summary.apply(&entry);
    }
    Ok((summary, if active == 0 { clock::now() } else { active }))
}

fn kept_summary(path: &Path) -> Option<Kept> {
    let kept: Kept = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (kept.fold == FOLD).then_some(kept)
}
