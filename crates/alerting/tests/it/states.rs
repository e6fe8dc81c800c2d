//! The state table of an alert, whole.

use veritwin_alerting::{AlertEvent, AlertState, StateError};

#[test]
fn every_state_and_event() {
    use AlertEvent::{Acknowledge, Clear, Raise};
    use AlertState::{ActiveAcknowledged, ActiveUnacknowledged, Cleared, ClearedUnacknowledged};
    let check = |state: AlertState, event: AlertEvent, expect: Result<AlertState, StateError>| {
        assert_eq!(state.apply(event), expect, "{state} {event:?}");
    };
    check(ActiveUnacknowledged, Raise, Err(StateError::AlreadyActive));
    check(ActiveUnacknowledged, Clear, Ok(ClearedUnacknowledged));
    check(ActiveUnacknowledged, Acknowledge, Ok(ActiveAcknowledged));
    check(ActiveAcknowledged, Raise, Err(StateError::AlreadyActive));
    check(ActiveAcknowledged, Clear, Ok(Cleared));
    check(ActiveAcknowledged, Acknowledge, Err(StateError::AlreadyAcknowledged));
    check(ClearedUnacknowledged, Raise, Ok(ActiveUnacknowledged));
    check(ClearedUnacknowledged, Clear, Err(StateError::AlreadyCleared));
    check(ClearedUnacknowledged, Acknowledge, Ok(Cleared));
    for event in [Raise, Clear, Acknowledge] {
        check(Cleared, event, Err(StateError::Ended));
    }
    for state in AlertState::ALL {
        assert_eq!(state.as_str().parse(), Ok(state));
        assert_eq!(state.is_open(), state.is_active() || state.is_unacknowledged());
    }
}
