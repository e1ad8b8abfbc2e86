//! The session's task: from the container's start to the hand-over to [`super::finish`].

use std::{path::PathBuf, pin::pin, sync::Arc, time::Duration};

use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Command, SessionHandle, Shared,
    link::{Link, Report},
    record::Record,
    viewer::Viewers,
};
use crate::{
    api, clock,
    engine::{Engine, State, Unit},
    event::Lifecycle,
    feed::Feed,
    gateway,
    inject::Injection,
    journal::Index,
    lifecycle::{Phase, Reason, Tick, Times, tick},
    recorder::Recorder,
    screen::Screen,
    spec::Spec,
    store::Store,
};
use sandbox_guest::wire::Order;

/// How long a container may take until its guest says hello.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a session's guest may be away before the engine is asked about it.
const LOST_LIMIT: Duration = Duration::from_secs(2);
/// How long after the grace a stopping session's container is removed by force.
const STOP_SLACK: Duration = Duration::from_secs(4);
/// How often the clock, the limits and the view are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Commands that wait for the task.
const COMMANDS: usize = 64;
/// Records that wait for the task; behind them the guest's spool fills.
const REPORTS: usize = 64;
/// Orders that wait for the guest.
const ORDERS: usize = 64;
/// Pieces of typed input that wait for the guest.
const INPUT: usize = 16;

/// How a session's container came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The task is to make it.
    Fresh,
    /// It was warm: it runs, and its guest waits for the start.
    Spare,
    /// It ran before this daemon did.
    Adopted,
}

/// Everything that a session's task needs.
pub struct Launch {
    /// How its container came to be.
    pub origin: Origin,
    /// What it was asked to be.
    pub spec: Arc<Spec>,
    /// Its container.
    pub unit: Unit,
    /// What is injected.
    pub injection: Injection,
    /// Runs containers.
    pub engine: Arc<dyn Engine>,
    /// Remembers.
    pub store: Store,
    /// Signs the record at its end.
    pub key: Arc<crate::keys::SigningKey>,
    /// Its record.
    pub recorder: Recorder,
    /// Its keyframes.
    pub index: Index,
    /// Folder of the record.
    pub dir: PathBuf,
    /// The screen as of the last frame in the journal.
    pub screen: Screen,
    /// Last record of the guest that is in the journal.
    pub last_record: u64,
    /// `control.sock`.
    pub control: UnixListener,
    /// `gateway.sock`.
    pub gateway: UnixListener,
    /// What its gateway stands on.
    pub context: Arc<gateway::Context>,
    /// The session as it is on record.
    pub view: api::Session,
    /// Whether its volumes are kept for its user's next session.
    pub keep_volume: bool,
}

impl Launch {
    /// Starts the task. It ends with the session, or leaves it running when `cancel` says so.
    pub fn run(self, cancel: CancellationToken) -> (SessionHandle, impl Future<Output = ()> + Send) {
        let (commands, asked) = mpsc::channel(COMMANDS);
        let (orders, ordered) = mpsc::channel(ORDERS);
        let (input, typed) = mpsc::channel(INPUT);
        let shared = Arc::new(Shared {
            id: self.unit.session,
            spec: Arc::clone(&self.spec),
            recorder: self.recorder.clone(),
            feed: Feed::new(*self.recorder.journal().head().borrow()),
            viewers: Viewers::default(),
            driver: watch::Sender::new(0),
            notice: watch::Sender::new(None),
            exit: watch::Sender::new(None),
            view: watch::Sender::new(self.view.clone()),
            commands,
            orders,
            input,
            died: tokio::sync::Notify::new(),
            gone: CancellationToken::new(),
        });
        let handle = SessionHandle::new(Arc::clone(&shared));
        let task = async move {
            let gone = shared.gone.clone().drop_guard();
            Task::new(self, shared, ordered, typed, cancel).run(asked).await;
            drop(gone);
        };
        (handle, task)
    }
}

/// The task's own state.
pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) store: Store,
    pub(super) key: Arc<crate::keys::SigningKey>,
    pub(super) unit: Unit,
    pub(super) record: Record,
    pub(super) keep_volume: bool,
    pub(super) phase: Phase,
    pub(super) reason: Option<Reason>,
    pub(super) view: api::Session,
    reports: mpsc::Receiver<Report>,
    helpers: JoinSet<()>,
    stop_helpers: CancellationToken,
    cancel: CancellationToken,
    origin: Origin,
    connected: bool,
    /// When patience with a silent guest, or with a stopping one, ends.
    deadline: Option<Instant>,
    warned: Option<Reason>,
    over_budget_at: Option<u64>,
}

/// Why the loop was left.
enum Left {
    /// The program has ended and its last record is in the journal.
    Exited,
    /// The container is gone, or is to be removed.
    Dead,
    /// The daemon stops; the session goes on.
    Daemon,
}

impl Task {
    fn new(
        launch: Launch,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
        input: mpsc::Receiver<bytes::Bytes>,
        cancel: CancellationToken,
    ) -> Task {
        let (report, reports) = mpsc::channel(REPORTS);
        let acks = watch::Sender::new(launch.last_record);
        let stop_helpers = CancellationToken::new();
        let mut helpers = JoinSet::new();
        let start = Arc::new(launch.injection.start);
        let link =
            Link { listener: launch.control, start, reports: report, orders, input, acks: acks.subscribe() };
        helpers.spawn(link.run(stop_helpers.clone()));
        helpers.spawn(gateway::serve(launch.gateway, Arc::clone(&launch.context), stop_helpers.clone()));
        let (record, committer) = Record::new(
            Arc::clone(&shared),
            launch.screen,
            launch.index,
            launch.dir,
            launch.last_record,
            acks,
            launch.context,
        );
        helpers.spawn(committer.run(stop_helpers.clone()));
        Task {
            phase: launch.view.phase,
            view: launch.view,
            reason: None,
            engine: launch.engine,
            store: launch.store,
            key: launch.key,
            unit: launch.unit,
            keep_volume: launch.keep_volume,
            origin: launch.origin,
            record,
            shared,
            reports,
            helpers,
            stop_helpers,
            cancel,
            connected: false,
            deadline: None,
            warned: None,
            over_budget_at: None,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let left = match self.bring_up(&mut commands).await {
            Ok(()) => self.live(&mut commands).await,
            Err(reason) => {
                self.reason.get_or_insert(reason);
                Left::Dead
            }
        };
        match left {
            Left::Daemon => {
                self.record.rest().await;
                self.stop_helpers.cancel();
                while self.helpers.join_next().await.is_some() {}
            }
            Left::Exited | Left::Dead => {
                let exited = matches!(left, Left::Exited);
                if exited {
                    self.dismiss_guest().await;
                }
                self.stop_helpers.cancel();
                while self.helpers.join_next().await.is_some() {}
                self.finish(&mut commands).await;
            }
        }
    }

    /// Makes the container, unless it is there. A stop is heard while the engine works, and carried out when
    /// it has: a call that is dropped half-way could leave a container behind.
    async fn bring_up(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<(), Reason> {
        self.deadline = Some(Instant::now() + START_LIMIT);
        if self.origin == Origin::Adopted {
            return Ok(());
        }
        self.enter(Phase::Starting).await;
        if self.origin == Origin::Spare {
            return Ok(());
        }
        let (engine, unit) = (Arc::clone(&self.engine), self.unit.clone());
        let mut made = pin!(engine.start(&unit));
        loop {
            tokio::select! {
                made = &mut made => return match (made, self.reason.clone()) {
                    (_, Some(reason)) => Err(reason),
                    (Err(error), None) => Err(Reason::Engine { error: error.to_string() }),
                    (Ok(()), None) => Ok(()),
                },
                Some(command) = commands.recv() => self.obey(command).await,
            }
        }
    }

    async fn live(&mut self, commands: &mut mpsc::Receiver<Command>) -> Left {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let deadline = self.deadline.unwrap_or_else(|| Instant::now() + START_LIMIT);
            tokio::select! {
                () = self.cancel.cancelled() => return Left::Daemon,
                Some(command) = commands.recv() => self.obey(command).await,
                // While the journal takes nothing, records wait in the guest's spool.
                Some(report) = self.reports.recv(), if !self.record.is_blocked() => {
                    if self.hear(report).await {
                        return Left::Exited;
                    }
                }
                news = self.record.retry(), if self.record.is_blocked() => {
                    if self.react(news).await {
                        return Left::Exited;
                    }
                }
                () = self.shared.died.notified() => self.deadline = Some(Instant::now()),
                () = sleep_until(deadline), if self.deadline.is_some() => {
                    if self.give_up().await {
                        return Left::Dead;
                    }
                }
                _ = ticks.tick() => self.tick().await,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Snapshot(reply) => {
                reply.send(self.record.snapshot()).ok();
            }
            Command::Stop(reason) => self.stop(reason).await,
        }
    }

    /// Takes in what the link reports; true when that was the program's end.
    async fn hear(&mut self, report: Report) -> bool {
        match report {
            Report::Hello(hello) => {
                self.connected = true;
                self.deadline = None;
                if self.phase == Phase::Stopping {
                    self.ask_to_stop().await;
                } else if hello.started && self.phase == Phase::Starting {
                    // A daemon before this one sent the start and did not live to see it carried out.
                    self.deadline = Some(Instant::now() + START_LIMIT);
                }
                false
            }
            Report::Lost => {
                self.connected = false;
                let patience = Instant::now() + LOST_LIMIT;
                self.deadline = Some(self.deadline.map_or(patience, |deadline| deadline.min(patience)));
                false
            }
            Report::Unfit(error) => {
                self.stop(Reason::Engine { error }).await;
                false
            }
            Report::Record(frame) => {
                let news = self.record.take(frame).await;
                self.react(news).await
            }
        }
    }

    /// Acts on what a record says of the session's life; true when that was the program's end.
    async fn react(&mut self, news: Option<Lifecycle>) -> bool {
        match news {
            Some(Lifecycle::ProgramStarted { .. }) => self.started().await,
            Some(Lifecycle::DiskUsage { used, limit }) => self.disk(used, limit).await,
            Some(ended @ (Lifecycle::ProgramFailed { .. } | Lifecycle::ProgramExited { .. })) => {
                self.ended(ended);
                return true;
            }
            _ => self.answer_for_nobody(),
        }
        false
    }

    /// A program that asks its terminal a question hangs where there is no terminal: while nobody drives,
    /// the screen model answers.
    fn answer_for_nobody(&mut self) {
        let replies = self.record.take_replies();
        if !replies.is_empty() && *self.shared.driver.borrow() == 0 {
            self.shared.input.try_send(replies.into()).ok();
        }
    }

    async fn started(&mut self) {
        if self.phase == Phase::Starting {
            self.view.started_at = Some(clock::timestamp(clock::now()));
            self.enter(Phase::Running).await;
        }
    }

    /// Notes how the program ended. A reason that was there before, such as a stop, stays.
    pub(super) fn ended(&mut self, news: Lifecycle) {
        let reason = match news {
            Lifecycle::ProgramFailed { error } => Reason::ProgramFailed { error },
            Lifecycle::ProgramExited { code, signal, oom } => {
                self.view.exit_code = Some(code);
                let killed = signal == Some(nix::libc::SIGKILL);
                if oom && killed { Reason::Oom } else { Reason::Exited { code } }
            }
            _ => return,
        };
        self.reason.get_or_insert(reason);
    }

    async fn disk(&mut self, used: u64, limit: u64) {
        if used >= limit {
            self.stop(Reason::Disk).await;
        } else {
            self.notice(Some(format!("{} of the disk limit is used", percent(used, limit))));
        }
    }

    async fn stop(&mut self, reason: Reason) {
        if self.phase >= Phase::Stopping || self.reason.is_some() {
            return;
        }
        self.reason = Some(reason);
        if self.phase == Phase::Running || self.connected {
            self.enter(Phase::Stopping).await;
            self.ask_to_stop().await;
        } else {
            self.deadline = Some(Instant::now());
        }
    }

    async fn ask_to_stop(&mut self) {
        let grace = self.shared.spec.profile.grace;
        self.deadline = Some(Instant::now() + grace + STOP_SLACK);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // Full means that the guest does not read; the deadline ends it then.
        self.shared.orders.try_send(Order::Stop { grace_ms }).ok();
    }

    /// The deadline has passed: true when the container is given up.
    async fn give_up(&mut self) -> bool {
        self.deadline = None;
        if self.reason.is_some() {
            return true;
        }
        match self.engine.state(self.unit.session).await {
            Ok(State::Running) if self.phase == Phase::Starting && !self.connected => {
                let error = format!("the guest did not report within {} s", START_LIMIT.as_secs());
                self.reason = Some(Reason::Engine { error });
                true
            }
            Ok(State::Running) => {
                if !self.connected {
                    self.deadline = Some(Instant::now() + LOST_LIMIT);
                }
                false
            }
            // Its last records lie in the spool, and its exit may be among them: `finish` looks.
            Ok(State::Exited { oom, .. }) => {
                if oom {
                    self.reason = Some(Reason::Oom);
                }
                true
            }
            Ok(State::Gone) => true,
            Err(error) => {
                tracing::warn!(session = %self.shared.id, %error, "the engine cannot tell about the container");
                self.deadline = Some(Instant::now() + LOST_LIMIT);
                false
            }
        }
    }

    async fn tick(&mut self) {
        if self.phase == Phase::Running {
            let now = clock::now();
            let profile = &self.shared.spec.profile;
            let started = self.view.started_at.map_or(now, clock::micros);
            let times = Times {
                started,
                active: self.shared.recorder.active(),
                ttl: profile.ttl,
                idle: profile.idle,
                warn: profile.warn,
            };
            let spent = self.shared.recorder.with_summary(|s| s.is_over(&profile.budget));
            let over_since = spent.then(|| *self.over_budget_at.get_or_insert(now));
            match tick(&times, over_since, now) {
                Tick::Quiet { .. } => {
                    if self.warned.take().is_some() {
                        self.notice(None);
                    }
                }
                Tick::Warn { reason, at } => self.warn(reason, at.saturating_sub(now)).await,
                Tick::End(reason) => self.stop(reason).await,
            }
        }
        self.record.keep(false).await;
        self.show();
    }

    async fn warn(&mut self, reason: Reason, in_us: u64) {
        let minutes = in_us.div_ceil(60_000_000);
        self.notice(Some(format!("ends in {minutes} min: {}", reason.phrase())));
        if self.warned.as_ref() != Some(&reason) {
            let event = Lifecycle::Warned { reason: reason.clone(), in_ms: in_us / 1000 };
            self.record.event(&event);
            self.warned = Some(reason);
        }
    }

    fn notice(&mut self, text: Option<String>) {
        self.view.warning.clone_from(&text);
        self.shared.notice.send_if_modified(|now| std::mem::replace(now, text.clone()) != text);
    }

    /// Enters a phase: in the journal first, then in the store, then for everybody to see.
    pub(super) async fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.view.phase = phase;
        self.view.reason.clone_from(&self.reason);
        self.record.event(&Lifecycle::Phase { phase, reason: self.reason.clone() });
        self.show();
        self.save().await;
    }

    /// Puts the session as it is now into the store.
    pub(super) async fn save(&self) {
        if let Err(error) = self.store.save_view(&self.view).await {
            tracing::error!(session = %self.shared.id, %error, "the session's state could not be stored");
        }
    }

    /// Shows everybody how the session stands.
    pub(super) fn show(&mut self) {
        let recorder = &self.shared.recorder;
        self.view.totals = recorder.with_summary(|s| s.totals());
        self.view.completeness = recorder.with_summary(|s| s.completeness());
        self.view.active_at = Some(clock::timestamp(recorder.active()));
        self.view.recorded_bytes = recorder.journal().bytes();
        self.view.viewers = u32::try_from(self.shared.viewers.count()).unwrap_or(u32::MAX);
        (self.view.cols, self.view.rows) = self.record.size();
        self.record.title().clone_into(&mut self.view.title);
        if let Some(problem) = self.record.problem() {
            self.view.warning = Some(problem.to_owned());
        }
        let view = &self.view;
        self.shared.view.send_if_modified(|seen| {
            seen != view && {
                view.clone_into(seen);
                true
            }
        });
    }
}

fn percent(part: u64, whole: u64) -> String {
    format!("{} %", part.saturating_mul(100) / whole.max(1))
}
