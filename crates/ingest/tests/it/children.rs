//! Devices behind a gateway.

use veritwin_domain::DeviceId;

/// The device behind the gateway with this name.
pub(crate) fn child_of(name: &str) -> DeviceId {
    let mut id = [0xc0; 16];
    id.iter_mut().zip(name.bytes()).for_each(|(byte, of_name)| *byte = of_name);
    DeviceId::from_bytes(id)
}
