//! A cache that follows the API server through a watch, some time behind it.

use std::rc::Rc;

use super::ApiServer;
use super::store::{Change, Objects};

/// A watch with its cache.
#[derive(Debug, Clone)]
pub struct Informer {
    /// What it believes in.
    pub objects: Objects,
    position: u64,
    /// How far it is behind, in milliseconds.
    pub lag: u64,
    /// Until when it hears nothing at all, in milliseconds.
    pub deaf_until: u64,
}

/// What an informer has heard.
#[derive(Debug, Clone)]
pub enum Heard {
    /// These changes, oldest first.
    Changes(Vec<Rc<Change>>),
    /// Its watch had expired (410): it has listed everything anew, and deletions in between went unseen.
    Relisted,
}

impl Informer {
    /// Lists everything now, and watches from there.
    pub fn new(api: &ApiServer, lag: u64) -> Self {
        Self { objects: api.objects().clone(), position: api.version(), lag, deaf_until: 0 }
    }

    /// Version up to which it has heard.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes in what is old enough at the moment `now` to have reached it.
    pub fn follow(&mut self, api: &ApiServer, now: u64) -> Heard {
        if now < self.deaf_until {
            return Heard::Changes(Vec::new());
        }
        let Some(horizon) = now.checked_sub(self.lag) else { return Heard::Changes(Vec::new()) };
        let Some(changes) = api.since(self.position) else {
            self.objects = api.objects().clone();
            self.position = api.version();
            return Heard::Relisted;
        };
        let heard: Vec<Rc<Change>> = changes.take_while(|change| change.at <= horizon).map(Rc::clone).collect();
        for change in &heard {
            self.objects.apply(change);
            self.position = change.version;
        }
        Heard::Changes(heard)
    }
}
