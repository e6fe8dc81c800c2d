//! What the platform's upkeep holds in memory: backups, shipping, reading everything, full disks
//! and the count of usage.

use std::sync::Arc;

use crate::backup::BackupHold;
use crate::disk_room::DiskRoom;
use crate::meter::Meter;
use crate::scrub::ScrubTurn;
use crate::shipping::ShipBoard;

/// All of it.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) backup: BackupHold,
    pub(crate) ships: ShipBoard,
    pub(crate) scrub: ScrubTurn,
    pub(crate) disk_room: DiskRoom,
    pub(crate) meter: Arc<Meter>,
}

impl Upkeep {
    pub(crate) fn new(meter: Arc<Meter>) -> Self {
        Self {
            backup: BackupHold::default(),
            ships: ShipBoard::default(),
            scrub: ScrubTurn::default(),
            disk_room: DiskRoom::default(),
            meter,
        }
    }
}
