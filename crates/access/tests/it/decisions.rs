//! Decisions on real contexts.

use std::sync::Arc;

use veritwin_access::{Action, Authorizer, Kind, Resource, jobs};
use veritwin_domain::{
    Actor, ActorKind, Clock, CredentialId, CustomRole, CustomRoleId, DeviceId, Facet, GroupId,
    HeldRole, ManualClock, OpContext, Origin, Place, PlatformContext, Purpose, RequestId, Role,
    Scope, ScopeOf, SeededRng, SessionId, SignIn, TenantId, Timestamp, UserId,
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
            acts_from: None,
            turn_of: None,
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

    /// An integrator of a group of devices.
    fn group(&self, number: u8, devices: &[DeviceId]) -> Facet {
        let of = ScopeOf::Group(GroupId::from_bytes([number; 16]));
        let devices = devices.iter().copied().collect();
        let scope = Arc::new(Scope { of, devices, ..Scope::whole() });
        Facet { scope, ..Facet::whole(Role::Integrator) }
    }

    fn user(&self, roles: &[Role]) -> Actor {
        let user = UserId::generate(AT, &self.rng);
        let session = SessionId::generate(AT, &self.rng);
        let sign_in = SignIn::proved(Timestamp::from_micros(0));
        Actor::with_roles(ActorKind::User { user, session, sign_in }, roles.to_vec())
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

/// Median and 99th percentile of many runs.
fn figures(rounds: usize, mut run: impl FnMut()) -> (std::time::Duration, std::time::Duration) {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let started = std::time::Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    times.sort();
    (times[rounds / 2], times[rounds * 99 / 100])
}

#[test]
fn a_remembered_decision_is_fast() {
    let world = World::new();
    let tenant = world.tenant();
    let device = DeviceId::generate(AT, &world.rng);
    let mut grants = world.context(tenant, world.user(&[Role::Viewer]));
    grants.actor.rights.facets = (0..16).map(|number| world.group(number, &[device])).collect();
    let roles = world.context(tenant, world.user(&[Role::Administrator]));
    let resource = Resource::device(tenant, device);
    let place = Place::Device { id: Some(device), twin: None, space: None, element: None };
    for (name, context, action) in
        [("roles", &roles, Action::DeviceDelete), ("16 grants", &grants, Action::DeviceUpdate)]
    {
        let ask = || world.authorizer.check_at(context, action, &resource, place).expect("allowed");
        let cold = figures(200, || {
            world.authorizer.forget_decisions();
            ask();
        });
        let cached = figures(5_000, ask);
        println!("{name}: cold {cold:?}, cached {cached:?} (median, p99)");
        assert!(cached.0 < std::time::Duration::from_micros(50), "{name}: {cached:?}");
    }
}

#[test]
fn grants_count_in_their_scope_and_what_is_denied_wins() {
    let world = World::new();
    let tenant = world.tenant();
    let (inside, outside) =
        (DeviceId::generate(AT, &world.rng), DeviceId::generate(AT, &world.rng));
    let mut context = world.context(tenant, world.user(&[Role::Viewer]));
    context.actor.rights.facets = vec![world.group(1, &[inside])];
    let check = |context: &OpContext, action, device| {
        let place = Place::Device { id: Some(device), twin: None, space: None, element: None };
        let denied =
            world.authorizer.check_at(context, action, &Resource::device(tenant, device), place);
        denied.map_err(|denied| denied.hidden)
    };
    assert_eq!(check(&context, Action::DeviceUpdate, inside), Ok(()));
    assert_eq!(check(&context, Action::DeviceUpdate, outside), Err(true));
    assert_eq!(check(&context, Action::DeviceRead, outside), Ok(()));
    assert_eq!(check(&context, Action::AlertEvaluate, inside), Err(false));
    let reach = world.authorizer.reach(&context, Action::DeviceUpdate, Kind::Device);
    assert!(!reach.expect("somewhere").is_whole());
    let names = |names: &[Action]| names.iter().map(|one| one.as_str().to_owned()).collect();
    let role = CustomRole {
        id: CustomRoleId::generate(AT, &world.rng),
        version: 1,
        allows: names(&[Action::ActivityRead]),
        denies: names(&[Action::DeviceRead]),
    };
    let whole =
        Facet { role: HeldRole::Custom(Arc::new(role.clone())), ..Facet::whole(Role::Viewer) };
    context.actor.rights.facets.push(whole);
    assert_eq!(check(&context, Action::DeviceRead, inside), Err(false));
    let records = Resource::all(tenant, Kind::Activity);
    assert_eq!(world.authorizer.check(&context, Action::ActivityRead, &records), Ok(()));
    // The role changes; what was remembered of the older one does not count.
    let newer = CustomRole { version: 2, denies: names(&[]), ..role };
    context.actor.rights.facets[1].role = HeldRole::Custom(Arc::new(newer));
    assert_eq!(check(&context, Action::DeviceRead, inside), Ok(()));
    // A key is bounded by its maker.
    let kind = ActorKind::ApiKey(veritwin_domain::ApiKeyId::generate(AT, &world.rng));
    let mut key = world.context(tenant, Actor::with_roles(kind, vec![Role::Administrator]));
    assert_eq!(check(&key, Action::DeviceDelete, inside), Ok(()));
    key.actor.rights.bounds = vec![vec![Facet::whole(Role::Viewer)]];
    assert_eq!(check(&key, Action::DeviceDelete, inside), Err(false));
    assert_eq!(check(&key, Action::DeviceRead, inside), Ok(()));
    assert!(
        world
            .authorizer
            .check(&key, Action::ApiKeyCreate, &Resource::all(tenant, Kind::ApiKey))
            .is_err()
    );
}
