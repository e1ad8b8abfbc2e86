//! Appending for threads that act as the user.
//!
//! The spool's folder is root's, and an append may have to make a file in it. So a thread that has become the user hands
//! its records to one that has not, and waits until each is in the spool.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use sandbox_guest::frame::Kind;

use crate::{
    identity::STACK,
    spool::{Closed, Spool},
};

/// The way to the spool; its thread ends when this is dropped.
pub struct Relay {
    to: SyncSender<(Kind, Vec<u8>)>,
    done: Receiver<()>,
}

impl Relay {
    /// Begins, on a thread with the caller's identity: call it before that is given up.
    pub fn start(spool: Arc<Spool>) -> io::Result<Relay> {
        let (to, records) = sync_channel::<(Kind, Vec<u8>)>(0);
        let (tell, done) = sync_channel(0);
        thread::Builder::new().name("relay".into()).stack_size(STACK).spawn(move || {
            for (kind, payload) in records {
                if spool.append(kind, &payload).is_err() || tell.send(()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Relay { to, done })
    }

    /// Appends a record. Waits while there is no room.
    pub fn append(&self, kind: Kind, payload: Vec<u8>) -> Result<(), Closed> {
        self.to.send((kind, payload)).map_err(|_| Closed)?;
        self.done.recv().map_err(|_| Closed)
    }
}
