//! Reports: what is kept of the ended, and what the living have used so far.

use std::{collections::BTreeMap, io::ErrorKind, path::Path};

use tokio::sync::MutexGuard;

use super::{Refusal, Supervisor};
use crate::{
    api::{self, ReportGroup, ReportQuery},
    clock,
    id::SessionId,
    journal::{JournalError, Reader},
    report::{self, Payer, Question, Sums},
    summary::{Row, Summary},
};

/// A session that is not kept yet: whose it is, and what it used so far.
struct Open {
    id: SessionId,
    payer: Payer,
    rows: Vec<Row>,
}

impl Supervisor {
    /// Adds up what was used.
    pub async fn report(&self, query: &ReportQuery) -> Result<api::Report, Refusal> {
        let now = clock::timestamp(clock::now());
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let by = query.by.as_deref().unwrap_or("user");
        let question = Question::new(by, query.since.as_deref(), query.until.as_deref(), today)
            .map_err(|error| Refusal::Invalid { field: error.field(), problem: error.to_string() })?;
        self.fill_usage().await?;
        // The living first: one that ends meanwhile is kept too, and left out there.
        let open = self.open_usage().await?;
        let (groups, sessions) = self.sums(&question, &open).await?;
        let total = report::total(groups.values(), sessions);
        Ok(api::Report {
            rows: report::lines(&question, groups),
            total: report::line(&question, ReportGroup::default(), &total),
            by: question.by,
            since: question.since,
            until: question.until,
            made_at: now,
        })
    }

    /// The sums of each group, and how many sessions there are in all of them.
    async fn sums(
        &self,
        question: &Question,
        open: &[Open],
    ) -> Result<(BTreeMap<ReportGroup, Sums>, u64), Refusal> {
        let without: Vec<SessionId> = open.iter().map(|session| session.id).collect();
        let (mut groups, mut sessions) = self.inner.store.usage(question, &without).await?;
        for session in open {
            let used = report::add_up(question, &session.payer, &session.rows);
            sessions += u64::from(!used.is_empty());
            for (group, sums) in used {
                groups.entry(group).or_default().add(&sums);
            }
        }
        Ok((groups, sessions))
    }

    /// What the living have used, and those that are not taken over yet.
    async fn open_usage(&self) -> Result<Vec<Open>, Refusal> {
        let mut open = Vec::new();
        for handle in self.all_live() {
            let view = handle.view();
            let created = clock::micros(view.created_at);
            let rows = handle.recorder.with_summary(|summary| summary.usage.rows(created));
            open.push(Open { id: view.id, payer: Payer::of(&view), rows });
        }
        let waiting: Vec<SessionId> = self.waiting_lock().keys().copied().collect();
        for id in waiting {
            if let Some(view) = self.inner.store.view(id).await? {
                let rows = self.used(&view).await?;
                open.push(Open { id, payer: Payer::of(&view), rows });
            }
        }
        Ok(open)
    }

    /// Keeps what those used that ended under a daemon which did not keep it.
    pub(super) async fn fill_usage(&self) -> Result<(), Refusal> {
        let mut filled = Ok(());
        for id in self.inner.store.without_usage().await? {
            let one_at_a_time = self.inner.filling.lock().await;
            // One that cannot be read now is no reason to leave out the others.
            filled = filled.and(self.keep_usage(&one_at_a_time, id).await);
        }
        filled
    }

    /// Keeps what an ended session used, as its journal tells, unless that is kept already.
    pub(super) async fn keep_usage(&self, _: &MutexGuard<'_, ()>, id: SessionId) -> Result<(), Refusal> {
        let Some(view) = self.inner.store.view(id).await? else { return Ok(()) };
        if self.inner.store.has_usage(id).await? {
            return Ok(());
        }
        let rows = self.used(&view).await?;
        if self.inner.cancel.is_cancelled() {
            // What was read may be a part.
            return Err(Refusal::Stopping);
        }
        Ok(self.inner.store.keep_usage(&view, &rows).await?)
    }

    /// What a session used, as its journal tells up to its end, or to where it is damaged for good. One that cannot be
    /// read now may be read later, so it is no bill.
    async fn used(&self, view: &api::Session) -> Result<Vec<Row>, Refusal> {
        let (id, created) = (view.id, clock::micros(view.created_at));
        let (journal, cancel) = (self.journal_dir(id), self.inner.cancel.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut summary = Summary::default();
            for entry in Reader::open(&journal, 1) {
                match entry {
                    Ok(_) if cancel.is_cancelled() => break,
                    Ok(entry) => summary.apply(&entry),
                    Err(error @ JournalError::Damaged { .. }) => {
                        tracing::warn!(session = %id, %error, "a journal breaks off; what it used counts up to there");
                        break;
                    }
                    Err(error) if is_gone(&error, &journal) => {
                        tracing::warn!(session = %id, %error, "a record is not there any more; it counts as one of nothing");
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(summary.usage.rows(created))
        });
        Ok(reading.await.map_err(|error| Refusal::Internal(error.into()))??)
    }
}

/// Whether somebody has taken the journal's folder away: nothing will ever be read there.
fn is_gone(error: &JournalError, journal: &Path) -> bool {
    matches!(error, JournalError::Io { path, error } if path == journal && error.kind() == ErrorKind::NotFound)
}
