//! The settings of `veritwin bench mqtt`: each on a private platform of its own, so that none
//! inherits what another one left in memory or on disk.

use std::sync::Arc;
use std::time::Duration;

use veritwin_app::RETAINED_MESSAGES_MAX;
use veritwin_bench::{Cell, CellOptions, Entry};
use veritwin_domain::{Clock, SystemClock};

use super::{Private, Rates, Setup, new_folder, peer_certificate};

const WARM_UP: Duration = Duration::from_secs(2);
const DURATION: Duration = Duration::from_secs(10);

/// Measures one after the other; what cannot be measured says so and holds up no other.
pub(crate) async fn cells(cells: &[Cell], measuring: impl Fn(&Cell)) -> Vec<Entry> {
    let mut entries = Vec::new();
    for cell in cells {
        measuring(cell);
        match measure(*cell).await {
            Ok(figures) => entries.extend(figures),
            Err(error) => {
                let (name, unit, better) = cell.main_figure();
                entries.push(Entry::missing(&name, unit, better, format!("{error:#}")));
            }
        }
    }
    entries
}

/// Measures one.
pub(super) async fn measure(cell: Cell) -> anyhow::Result<Vec<Entry>> {
    cell.make_room(RETAINED_MESSAGES_MAX)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let root = new_folder(clock.as_ref(), &veritwin_app::system_rng())?;
    let setup = Setup {
        rates: Rates::Lifted,
        is_plain: cell.is_plain(),
        connections: cell.connections(RETAINED_MESSAGES_MAX),
    };
    let private = Private::start_in(root, setup).await?;
    let mut tokens = Vec::new();
    for _ in 0..cell.tenants(RETAINED_MESSAGES_MAX) {
        tokens.extend(private.tokens_of(cell.devices()).await?);
    }
    let mut ca_pem = std::fs::read(private.text("ca")?)?;
    let (peer, peer_pem) = peer_certificate(&private.root)?;
    ca_pem.extend_from_slice(peer_pem.as_bytes());
    let listener = if cell.is_plain() { "mqtt_plain" } else { "mqtts" };
    let options = CellOptions {
        cell,
        address: private.text(listener)?,
        server_name: "localhost".to_owned(),
        ca_pem,
        tokens,
        pid: private.child.id(),
        peer: Some(peer),
        retained_messages_max: RETAINED_MESSAGES_MAX,
        warm_up: WARM_UP,
        duration: DURATION,
        clock,
    };
    veritwin_bench::cell(&options).await
}
