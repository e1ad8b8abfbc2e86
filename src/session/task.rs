//! The session's task: from the container's start to the hand-over to [`super::finish`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Command, SessionHandle, Shared,
    link::{self, Link, Reports},
    record::Record,
    viewer::Viewers,
};
use crate::{
    api,
    engine::{Engine, Unit},
    feed::Feed,
    gateway,
    inject::Injection,
    journal::Index,
    lifecycle::{Phase, Reason},
    recorder::Recorder,
    screen::Screen,
    spec::Spec,
    store::Store,
    summary::Life,
};
use sandbox_guest::wire::Order;

/// How long a container may take until its guest says hello.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a session's guest may be away before the engine is asked about it.
pub(super) const LOST_LIMIT: Duration = Duration::from_secs(2);
/// How long after the grace a stopping session's container is removed by force.
pub(super) const STOP_SLACK: Duration = Duration::from_secs(4);
/// How often the clock, the limits and the view are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Commands that wait for the task.
const COMMANDS: usize = 64;
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
    /// What is injected; `None` where the program has not begun and can no longer be told what it needs.
    pub injection: Option<Injection>,
    /// What the journal tells of the session's life so far.
    pub life: Life,
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
    pub(super) cancel: CancellationToken,
    reports: Reports,
    helpers: JoinSet<()>,
    stop_helpers: CancellationToken,
    pub(super) origin: Origin,
    pub(super) life: Life,
    pub(super) can_start: bool,
    pub(super) connected: bool,
    /// Connections that the guest has given up, one after the other.
    pub(super) faults: u32,
    /// Bytes of records taken since others last had their turn.
    pub(super) taken: usize,
    /// What users should know about the session's end.
    pub(super) said: Option<String>,
    /// When patience with a silent guest, or with a stopping one, ends.
    pub(super) deadline: Option<Instant>,
    /// When patience with a program that does not begin ends.
    pub(super) start_by: Instant,
    pub(super) warned: Option<Reason>,
    pub(super) over_budget_at: Option<u64>,
}

/// Why the loop was left.
pub(super) enum Left {
    /// The program has ended and its last record is in the journal.
    Exited,
    /// The container is gone, or is to be removed.
    Dead,
    /// It was a spare, and has died before it was this session: another one will do.
    Spoiled,
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
        let (report, reports) = link::reports();
        let acks = watch::Sender::new(launch.last_record);
        let stop_helpers = CancellationToken::new();
        let mut helpers = JoinSet::new();
        let start = launch.injection.map(|injection| Arc::new(injection.start));
        let can_start = start.is_some();
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
            phase: launch.life.phase.unwrap_or(launch.view.phase),
            reason: launch.view.reason.clone(),
            view: launch.view,
            engine: launch.engine,
            store: launch.store,
            key: launch.key,
            unit: launch.unit,
            keep_volume: launch.keep_volume,
            origin: launch.origin,
            life: launch.life,
            can_start,
            record,
            shared,
            reports,
            helpers,
            stop_helpers,
            cancel,
            connected: false,
            faults: 0,
            taken: 0,
            said: None,
            deadline: None,
            start_by: Instant::now() + START_LIMIT,
            warned: None,
            over_budget_at: None,
        }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut left = match self.resume().await {
            Some(left) => left,
            None => self.bring_up_and_live(&mut commands).await,
        };
        if matches!(left, Left::Spoiled) {
            self.origin = Origin::Fresh;
            left = match self.engine.remove(self.unit.session).await {
                Ok(()) => self.bring_up_and_live(&mut commands).await,
                Err(error) => {
                    self.reason.get_or_insert(Reason::Engine { error: error.to_string() });
                    Left::Dead
                }
            };
        }
        match left {
            Left::Daemon => {
                self.record.rest().await;
                self.stop_helpers.cancel();
                while self.helpers.join_next().await.is_some() {}
            }
            Left::Exited | Left::Dead | Left::Spoiled => {
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

    async fn bring_up_and_live(&mut self, commands: &mut mpsc::Receiver<Command>) -> Left {
        match self.bring_up(commands).await {
            Ok(()) => self.live(commands).await,
            Err(reason) => {
                self.reason.get_or_insert(reason);
                Left::Dead
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
                () = self.shared.died.notified() => {
                    if let Some(left) = self.look_at_container(false).await {
                        return left;
                    }
                }
                () = sleep_until(deadline), if self.deadline.is_some() => {
                    if let Some(left) = self.look_at_container(true).await {
                        return left;
                    }
                }
                _ = ticks.tick() => self.tick().await,
            }
        }
    }

    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Snapshot(reply) => {
                reply.send(self.record.snapshot()).ok();
            }
            Command::Stop(reason) => self.stop(reason).await,
        }
    }

    pub(super) async fn stop(&mut self, reason: Reason) {
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

    pub(super) async fn ask_to_stop(&mut self) {
        let grace = self.shared.spec.profile.grace;
        self.deadline = Some(Instant::now() + grace + STOP_SLACK);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // Full means that the guest does not read; the deadline ends it then.
        self.shared.orders.try_send(Order::Stop { grace_ms }).ok();
    }
}
