//! Sessions that write what is known, and a daemon that is killed under them again and again.

use std::time::{Duration, Instant};

use reqwest::Method;
use sandboxctl::{
    api::{Role, Session, StartRequest},
    journal::verify,
    lifecycle::{Phase, Reason},
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    common::{Daemon, Rung, Setup},
    dice::Dice,
    programs::{Program, Tally},
    watchers::{Manner, Seen, screen_of, watch},
};

/// So small that journals roll again and again, and that spools fill while no daemon is there.
const SMALL: [(&str, &str); 2] =
    [("SANDBOXCTL_SEGMENT_BYTES", "1048576"), ("SANDBOXCTL_SPOOL_BYTES", "1048576")];

/// When a storm is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many kills of the daemon.
    Kills(u64),
    /// After so long.
    Time(Duration),
}

/// A session of a storm, and who watches it.
struct Subject {
    program: Program,
    session: Session,
    watcher: JoinHandle<Seen>,
}

/// A storm under way.
pub struct Storm {
    pub daemon: Daemon,
    pub dice: Dice,
    subjects: Vec<Subject>,
    /// How often the daemon was killed.
    pub kills: u64,
    /// How often in the middle of its start.
    pub early_kills: u64,
}

/// How a storm ended.
#[derive(Debug, Default)]
pub struct Report {
    /// A line for each session: what it ran, and its tally.
    pub sessions: Vec<(Program, Session, Tally)>,
    /// Short sessions that were begun around the kills.
    pub born: usize,
    /// Segments of the longest journal.
    pub segments: usize,
}

impl Report {
    /// What all of them wrote, and what of it is on record.
    pub fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.sessions.iter().for_each(|(_, _, tally)| sum.add(tally.clone()));
        sum
    }
}

impl Storm {
    /// Starts a daemon and these programs, each with somebody who watches.
    pub async fn gather(rung: Rung, programs: &[(Program, Manner)]) -> Storm {
        let dice = Dice::new();
        let config = "max_sessions_per_user = 64\n[profiles.demo]\ncredential = \"demo\"\ngrace = \"2s\"";
        let daemon = Daemon::start_up(Setup { rung, config, env: &SMALL, ..Setup::default() }).await;
        let mut storm = Storm { daemon, dice, subjects: Vec::new(), kills: 0, early_kills: 0 };
        for (program, manner) in programs {
            let session = storm.start(*program).await;
            let watcher = watch(storm.daemon.client.clone(), &session, *manner);
            storm.subjects.push(Subject { program: *program, session, watcher });
        }
        for subject in &storm.subjects {
            storm.daemon.when(&subject.session, "it runs", |s| s.phase == Phase::Running).await;
        }
        storm
    }

    /// Starts one more session.
    pub async fn start(&self, program: Program) -> Session {
        self.daemon.begin(StartRequest { program: program.argv(), ..StartRequest::default() }).await
    }

    /// Kills the daemon at a random moment, while a session is being started or not, and starts it again.
    /// Now and then it is killed once more before it is up.
    pub async fn strike(&mut self) {
        let birth = (self.dice.below(2) == 0).then(|| {
            let client = self.daemon.client.clone();
            let at = self.dice.moment(600);
            tokio::spawn(async move {
                sleep(at).await;
                let program = ["sh", "-c", "echo born; exit 7"].map(str::to_owned).to_vec();
                let request = StartRequest { program, ..StartRequest::default() };
                // It may come to be or not, and whoever asked may never know.
                client.json::<Session>(Method::POST, "/api/v1/sessions", Some(&request)).await.ok();
            })
        });
        sleep(self.dice.moment(700)).await;
        self.daemon.kill();
        self.kills += 1;
        while self.dice.below(3) == 0 {
            self.daemon.launch();
            sleep(self.dice.moment(400)).await;
            self.daemon.kill();
            self.kills += 1;
            self.early_kills += 1;
        }
        self.daemon.launch();
        self.daemon.up().await;
        if let Some(birth) = birth {
            birth.await.expect("joined");
        }
    }

    /// Strikes until it is time.
    pub async fn rage(&mut self, until: Until) {
        let began = Instant::now();
        loop {
            let over = match until {
                Until::Kills(kills) => self.kills >= kills,
                Until::Time(time) => began.elapsed() >= time,
            };
            if over {
                return;
            }
            self.strike().await;
        }
    }

    /// Ends every session in order, and holds what is on record to what was written.
    pub async fn settle(self) -> Report {
        let Storm { daemon, subjects, .. } = self;
        for Subject { session, .. } in &subjects {
            let now = daemon.client.session(&session.id.to_string()).await.expect("it is known");
            assert_eq!(now.phase, Phase::Running, "every session still runs: {now:?}");
            daemon.when(session, "who watched is back", |s| s.viewers > 0).await;
            let mut screen = daemon.join(session, Role::Driver, None).await;
            screen.until("it drives", |s| s.role == Some(Role::Driver)).await;
            screen.type_in("\n").await;
        }
        let mut report = Report::default();
        for Subject { program, session, watcher } in subjects {
            let ended = daemon.ended(&session).await;
            assert_eq!(ended.reason, Some(Reason::Exited { code: 0 }), "{program:?}");
            let journal = daemon.journal(&session);
            let mut tally = program.check(&journal, true);
            if !verify(&journal).is_ok_and(|verified| verified.seal.is_some()) {
                tally.wrong.push("its record is not whole and sealed".to_owned());
            }
            if program == Program::Client && ended.completeness != Some(1.0) {
                tally.wrong.push(format!("of the client's events {:?} are there", ended.completeness));
            }
            let seen = watcher.await.expect("the watcher has no complaint");
            assert!(seen.joins > 0);
            if tally.wrong.is_empty() && seen.screen.lines() != screen_of(&journal, &session).lines() {
                tally.wrong.push("who watched has another screen".to_owned());
            }
            let segments = std::fs::read_dir(&journal).expect("a journal").flatten();
            let segments = segments.filter(|e| e.path().extension().is_some_and(|e| e == "log")).count();
            report.segments = report.segments.max(segments);
            report.sessions.push((program, ended, tally));
        }
        let all = daemon.client.sessions(true).await.expect("the list").sessions;
        let main: Vec<_> = report.sessions.iter().map(|(_, session, _)| session.id).collect();
        for session in all.iter().filter(|s| !main.contains(&s.id)) {
            let ended = daemon.ended(session).await;
            assert_eq!(ended.reason, Some(Reason::Exited { code: 7 }), "{ended:?}\n{}", daemon.log());
            report.born += 1;
        }
        report
    }
}
