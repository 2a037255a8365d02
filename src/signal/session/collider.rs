//! What a session does for a client that speaks Collider's dialect: its socket belongs to an AppRTC
//! client rather than to a seat.

use std::net::SocketAddr;
use std::sync::Arc;

use super::farewell::End;
use crate::signal::apprtc::{Listener, Registration};
use crate::signal::dialect::collider::{Command, Complaint, complain};
use crate::signal::frame::CloseCode;
use crate::signal::hub::{Connection, Cut, Hub, Item, Outbox};

/// Whose socket it is.
#[derive(Debug, Default)]
pub(super) struct Socket {
    registration: Option<Registration>,
}

impl Socket {
    /// Does what a frame of `client` asks for, or tells it why not.
    pub(super) fn obey(
        &mut self,
        command: Result<Command, Complaint>,
        connection: &Connection,
        client: SocketAddr,
        hub: &Hub,
    ) -> Result<(), End> {
        let done = command.and_then(|command| match (command, &self.registration) {
            (Command::Register { .. }, Some(_)) => Err(Complaint::RegisteredTwice),
            (Command::Register { room, client: id }, None) => {
                let ear: Arc<dyn Listener> = connection.shared_outbox();
                let made = hub
                    .apprtc()
                    .register(connection.id(), (ear, client), &room, &id)?;
                self.registration = Some(made);
                Ok(())
            }
            (Command::Send(msg), Some(registration)) => {
                registration.send(&msg);
                Ok(())
            }
            (Command::Send(_), None) => Err(Complaint::NotRegistered),
        });
        let Err(why) = done else {
            return Ok(());
        };
        hub.apprtc().complained();
        let outbox = connection.outbox();
        if let Some(text) = complain(&why.to_string()) {
            let told = outbox.push(Item::Text(text.into()));
            told.map_err(|_| End::TooSlow)?;
        }
        if why.is_final() {
            outbox.cut(Cut::Done);
        }
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn close(&mut self, end: &End) {
        let Some(mut registration) = self.registration.take() else {
            return;
        };
        // What browsers say when their page is left or loaded anew.
        if matches!(end, End::Closed(Some(CloseCode::AWAY))) {
            registration.page_gone();
        }
    }
}

impl Listener for Outbox {
    fn hear(&self, text: String) {
        // If it runs over, that has woken its session, which will disconnect.
        let _ = self.push(Item::Text(text.into()));
    }

    fn replaced(&self) {
        self.cut(Cut::Superseded);
    }

    fn done(&self) {
        self.cut(Cut::Done);
    }

    fn evicted(&self) {
        self.cut(Cut::Evicted);
    }
}
