//! Decisions on real contexts.

use std::sync::Arc;

use veritwin_access::{Action, Authorizer, Kind, Resource, jobs};
use veritwin_domain::{
    Actor, ActorKind, Clock, CredentialId, DeviceId, ManualClock, OpContext, Origin,
    PlatformContext, Purpose, RequestId, Role, SeededRng, SessionId, SignIn, TenantId, Timestamp,
    UserId,
};

const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

struct World {
    rng: SeededRng,
    authorizer: Authorizer,
}

impl World {
    fn new() -> Self {
        Self { rng: SeededRng::new(1), authorizer: Authorizer::new().expect("policies") }
    }

    fn context(&self, tenant: TenantId, actor: Actor) -> OpContext {
        self.platform(actor.clone()).in_tenant(tenant, actor)
    }

    fn platform(&self, actor: Actor) -> PlatformContext {
        PlatformContext {
            actor,
            purpose: Purpose::TwinBuilding,
            request: RequestId::generate(AT, &self.rng),
            origin: Origin::default(),
            at: AT,
            clock: Arc::new(ManualClock::new(AT)) as Arc<dyn Clock>,
        }
    }

    fn tenant(&self) -> TenantId {
        TenantId::generate(AT, &self.rng)
    }

    fn user(&self, roles: &[Role]) -> Actor {
        let user = UserId::generate(AT, &self.rng);
        let session = SessionId::generate(AT, &self.rng);
        let sign_in = SignIn {
            proved_at: Timestamp::from_micros(0),
            lacks_second_factor: false,
            by_provider: false,
        };
        Actor { kind: ActorKind::User { user, session, sign_in }, roles: roles.to_vec() }
    }
}

#[test]
fn another_tenants_resource_is_hidden_from_everybody() {
    let world = World::new();
    let (own, other) = (world.tenant(), world.tenant());
    let actors = [
        world.user(&[Role::Administrator]),
        world.user(&[]),
        Actor::job(jobs::ALERTS),
        Actor::without_roles(ActorKind::LocalOperator),
    ];
    for actor in actors {
        let context = world.context(own, actor);
        for action in Action::ALL.iter().filter(|action| action.kind() != Kind::Platform) {
            let resource = Resource::all(other, action.kind());
            let denied = world.authorizer.check(&context, *action, &resource).unwrap_err();
            assert!(denied.hidden, "{action}");
            assert_eq!(denied.to_string(), "not found");
        }
    }
}

#[test]
fn a_device_reaches_itself_only() {
    let world = World::new();
    let tenant = world.tenant();
    let device = DeviceId::generate(AT, &world.rng);
    let sibling = DeviceId::generate(AT, &world.rng);
    let credential = CredentialId::generate(AT, &world.rng);
    let actor = Actor::without_roles(ActorKind::Device { device, credential });
    let context = world.context(tenant, actor);
    let check = |action, resource| world.authorizer.check(&context, action, &resource);
    assert_eq!(check(Action::TelemetryWrite, Resource::device(tenant, device)), Ok(()));
    assert!(check(Action::TelemetryWrite, Resource::device(tenant, sibling)).unwrap_err().hidden);
    assert!(!check(Action::DeviceDelete, Resource::device(tenant, device)).unwrap_err().hidden);
    assert!(check(Action::DeviceList, Resource::all(tenant, Kind::Device)).is_err());
    assert!(check(Action::TelemetryRead, Resource::all(tenant, Kind::Telemetry)).is_err());
}

#[test]
fn roles_jobs_and_the_platform() {
    let world = World::new();
    let tenant = world.tenant();
    let operator = world.context(tenant, world.user(&[Role::Operator]));
    let both = world.context(tenant, world.user(&[Role::Operator, Role::Administrator]));
    let devices = Resource::all(tenant, Kind::Device);
    let series = Resource::all(tenant, Kind::Telemetry);
    let check = |context, action, resource: &Resource| {
        world.authorizer.check(context, action, resource).is_ok()
    };
    assert!(check(&operator, Action::DeviceList, &devices));
    assert!(!check(&operator, Action::DeviceCreate, &devices));
    assert!(check(&operator, Action::TelemetryRead, &series));
    assert!(!check(&operator, Action::TelemetryReadPersonal, &series));
    assert!(check(&both, Action::TelemetryReadPersonal, &series));
    let on_platform = |actor: Actor, action| {
        world.authorizer.check_platform(&world.platform(actor), action).is_ok()
    };
    assert!(on_platform(Actor::without_roles(ActorKind::Anonymous), Action::SessionCreate));
    assert!(!on_platform(Actor::without_roles(ActorKind::Anonymous), Action::TenantCreate));
    assert!(on_platform(Actor::job(jobs::RETENTION), Action::SessionPurge));
    assert!(!on_platform(Actor::job("unheard of"), Action::TenantList));
    assert!(!on_platform(world.user(&[Role::Administrator]), Action::TenantCreate));
}

#[test]
fn a_remembered_decision_is_fast() {
    let world = World::new();
    let tenant = world.tenant();
    let context = world.context(tenant, world.user(&[Role::Administrator]));
    let resource = Resource::all(tenant, Kind::Device);
    let started = std::time::Instant::now();
    const ROUNDS: u32 = 10_000;
    for _ in 0..ROUNDS {
        world.authorizer.check(&context, Action::DeviceList, &resource).expect("allowed");
    }
    let each = started.elapsed() / ROUNDS;
    assert!(each < std::time::Duration::from_micros(50), "a decision took {each:?}");
}
