//! Calls to devices that are kept, and packages for them.

use veritwin_domain::{CallId, DeviceId, GroupId, PackageId, Timestamp};

/// A call to be kept until its end.
#[derive(Debug, Clone)]
pub struct CallInput {
    /// The method.
    pub method: String,
    /// The parameters, as JSON text.
    pub params: String,
    /// Whether an answer is waited for.
    pub two_way: bool,
    /// Until when, from now on.
    pub lasts: std::time::Duration,
    /// How often it is sent again.
    pub retries: u32,
}

/// A call and what became of it.
#[derive(Debug, Clone)]
pub struct CallView {
    /// The call.
    pub id: CallId,
    /// The device.
    pub device: DeviceId,
    /// `queued`, `sent`, `delivered`, `successful`, `timeout`, `expired`, `failed` or `deleted`.
    pub state: &'static str,
    /// The method.
    pub method: String,
    /// The parameters, as JSON text.
    pub params: String,
    /// Whether an answer is waited for.
    pub two_way: bool,
    /// The answer, as JSON text.
    pub answer: Option<String>,
    /// Why there is none, when there is something to say.
    pub error: Option<String>,
    /// How often it was sent.
    pub attempts: u64,
    /// How often it is sent again at most.
    pub retries: u32,
    /// Until when.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A call that is to be sent now.
#[derive(Debug, Clone)]
pub struct CallToSend {
    /// The call.
    pub id: CallId,
    /// What the device knows it by.
    pub number: u32,
    /// The method.
    pub method: String,
    /// The parameters, as JSON text.
    pub params: String,
    /// When it is over, delivered or not.
    pub expires_at: Timestamp,
}

/// A package to be kept.
#[derive(Debug, Clone)]
pub struct PackageInput {
    /// `firmware` or `software`.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// Its version.
    pub version: String,
    /// `sha256`, `sha384` or `sha512`.
    pub checksum_algorithm: String,
    /// The checksum that the bytes have to have, if it is known.
    pub checksum: Option<String>,
}

/// A package.
#[derive(Debug, Clone)]
pub struct PackageView {
    /// The package.
    pub id: PackageId,
    /// `firmware` or `software`.
    pub kind: &'static str,
    /// Its title.
    pub title: String,
    /// Its version.
    pub version: String,
    /// Such as `sha256`.
    pub checksum_algorithm: String,
    /// In hexadecimal digits.
    pub checksum: String,
    /// How long it is.
    pub bytes: u64,
    /// How many devices are to have it.
    pub devices: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whom a package is for.
#[derive(Debug, Clone, Default)]
pub struct PackageTargets {
    /// These devices.
    pub devices: Vec<DeviceId>,
    /// The devices that are in this group now.
    pub group: Option<GroupId>,
}

/// A piece of a package that a device asks for.
#[derive(Debug, Clone)]
pub struct PieceWanted {
    /// Whether it is firmware; software otherwise.
    pub is_firmware: bool,
    /// The title and version that the device expects, if it says so.
    pub expected: Option<(String, String)>,
    /// Bytes of each piece; none: all of it at once.
    pub piece_bytes: Option<u32>,
    /// Which piece, from 0.
    pub piece: u32,
    /// The package that earlier pieces were of: of another one nothing follows.
    pub begun: Option<PackageId>,
}

/// A piece of a package.
#[derive(Debug, Clone)]
pub struct PackagePiece {
    /// The package.
    pub package: PackageId,
    /// Its bytes; none beyond the end.
    pub bytes: Vec<u8>,
}
