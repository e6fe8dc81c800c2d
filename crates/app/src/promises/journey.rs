//! The daily journey: the platform plays a data subject in a tenant of nobody. It signs up, agrees,
//! is measured, asks for its copy, objects, restricts and withdraws; each step is evidence beside
//! the checks of the promises that it touches, and a step that breaks turns them red.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{
    CaseId, Declaration, DeviceBatch, DeviceId, Key, OpContext, Purpose, Quality, Reading, Role,
    Secret, UserId, Value,
};
use veritwin_governance::{PromiseId, UseRefused};

use super::PROBE_TENANT;
use super::canary::canary;
use super::consents::PHONE;
use super::fixture::ProbeIdentity;
use super::probe::ProbeAnswer;
use super::walked::{LEADING, Step, Walked, WalkedStep};
use crate::consent_record::check_consent;
use crate::consents::FieldUse;
use crate::model::{
    DeclarationInput, DeviceInput, LatestFilter, OwnCaseInput, StreamSubject, StreamTarget,
};
use crate::sms::SMS_PURPOSE;
use crate::subject::check_copy;
use crate::{App, Error, Result, Submission};

/// A journey that takes longer was not walked.
const WALK_TIMEOUT: Duration = Duration::from_secs(180);
/// What its devices are called first.
const NAME: &str = "journey probe";
/// The series that it is measured by.
const SERIES: &str = "presence";

/// The journeys of this run of the platform.
#[derive(Debug, Default)]
pub(super) struct Journey {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    begun: AtomicU64,
    last: Mutex<Option<Arc<Walked>>>,
}

/// Whoever is on the journey.
struct Traveller {
    context: OpContext,
    user: UserId,
    email: String,
    /// What is measured of them.
    own: Value,
    device: DeviceId,
}

impl Traveller {
    fn own_text(&self) -> &str {
        match &self.own {
            Value::Text(text) => text,
            _ => "",
        }
    }
}

/// What a step found: nothing, or what is wrong.
type Found = Option<&'static str>;

/// Whether a step could not be walked for a reason that says nothing of it.
const fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Unavailable(_) | Error::Busy { .. } | Error::Rate(_) | Error::Limit(_))
}

impl App {
    /// The journey, where it touches a promise. The checks that lead it walk it anew; the others
    /// take the last one, and where it broke they walk it again: what was mended is not red for a
    /// day.
    pub(super) async fn journey_for(&self, id: PromiseId) -> Option<Arc<Walked>> {
        let number = id.number();
        let last = self.0.promises.journey.last.lock().clone();
        if !LEADING.contains(&number) {
            let touched = last.as_ref().filter(|last| last.of(number).next().is_some())?;
            if !touched.is_broken(number) {
                return last;
            }
        }
        match tokio::time::timeout(WALK_TIMEOUT, self.walk_anew()).await {
            Ok(Ok(walked)) => Some(walked),
            // Until it can be walked, it counts as it was.
            Ok(Err(error)) => {
                tracing::warn!(%error, "the daily journey was not walked");
                last
            }
            Err(_) => {
                tracing::warn!("the daily journey took too long");
                last
            }
        }
    }

    /// Walks the journey; who waited while one began that they had asked for takes its findings.
    #[boxed]
    async fn walk_anew(&self) -> Result<Arc<Walked>> {
        let journey = &self.0.promises.journey;
        let asked = journey.begun.load(Ordering::SeqCst);
        let _turn = journey.turn.lock().await;
        let last = journey.last.lock().clone();
        if journey.begun.load(Ordering::SeqCst) > asked
            && let Some(last) = last
        {
            return Ok(last);
        }
        journey.begun.fetch_add(1, Ordering::SeqCst);
        let walked = Arc::new(self.walk().await?);
        let before = journey.last.lock().replace(Arc::clone(&walked));
        self.ask_about(&walked, before.as_deref());
        Ok(walked)
    }

    /// Promises whose steps broke just now are checked at once; a journey that stays broken asks
    /// for nothing more.
    fn ask_about(&self, walked: &Walked, before: Option<&Walked>) {
        let broken = walked.steps.iter().filter(|one| one.broken.is_some());
        let numbers = broken.flat_map(|one| one.step.promises()).filter(|number| {
            let was_broken = before.is_some_and(|before| before.is_broken(**number));
            !was_broken && !LEADING.contains(*number)
        });
        let mut board = self.0.promises.board.lock();
        for id in numbers.filter_map(|number| PromiseId::new(*number).ok()) {
            board.schedule.ask(id);
        }
        drop(board);
        self.0.promises.changed.notify_one();
    }

    async fn walk(&self) -> Result<Walked> {
        let at = self.clock().now();
        self.ensure_probe_tenant().await?;
        let maker = self.open_probe_identity(PROBE_TENANT, NAME, Role::Administrator).await?;
        let steps = match self.remove_declared_devices(&maker, NAME).await {
            Ok(()) => self.walk_steps(&maker).await,
            Err(error) => Err(error),
        };
        let tidied = self.remove_declared_devices(&maker, NAME).await;
        self.close_probe_identity(&maker).await?;
        tidied?;
        Ok(Walked { at, steps: steps? })
    }

    #[boxed]
    async fn walk_steps(&self, maker: &ProbeIdentity) -> Result<Vec<WalkedStep>> {
        let guest = match self.sign_up_invited(true, true).await {
            Ok(guest) => guest,
            Err(error) if is_passing(&error) => return Err(error),
            Err(error) => {
                let broken = Some(ProbeAnswer::told(&error));
                return Ok(vec![WalkedStep { step: Step::SignUp, broken }]);
            }
        };
        let user = guest.signed_in.session.user.id;
        let walked = match self.sign_in_guest(&guest).await {
            Ok(context) => {
                let traveller = Traveller {
                    context,
                    user,
                    email: guest.email.expose().clone(),
                    own: Value::Text(canary(self.rng()).into()),
                    device: DeviceId::from_bytes([0; 16]),
                };
                self.walk_signed_in(traveller, maker).await
            }
            Err(error) => Err(error),
        };
        self.forget_traveller(user).await?;
        walked
    }

    #[boxed]
    async fn walk_signed_in(
        &self,
        mut traveller: Traveller,
        maker: &ProbeIdentity,
    ) -> Result<Vec<WalkedStep>> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let is_attested = tx.user(traveller.user).await?.attestation.is_some();
        drop(tx);
        let broken = (!is_attested).then(|| "The attestation was not recorded.".to_owned());
        let mut steps = vec![WalkedStep { step: Step::SignUp, broken }];
        for step in Step::AFTER_SIGN_UP {
            let broken = match self.take(step, &mut traveller, maker).await {
                Ok(found) => found.map(str::to_owned),
                Err(error) if is_passing(&error) => return Err(error),
                Err(error) => Some(ProbeAnswer::told(&error)),
            };
            // Without readings there is nothing that a right could be exercised over.
            let is_end = step == Step::Readings && broken.is_some();
            steps.push(WalkedStep { step, broken });
            if is_end {
                break;
            }
        }
        Ok(steps)
    }

    #[boxed]
    async fn take(
        &self,
        step: Step,
        traveller: &mut Traveller,
        maker: &ProbeIdentity,
    ) -> Result<Found> {
        match step {
            Step::SignUp => Ok(None),
            Step::Consent => self.take_consent(traveller).await,
            Step::Readings => self.take_own_readings(traveller, maker).await,
            Step::Copy => self.take_copy(traveller, maker).await,
            Step::Objection => self.take_objection(traveller).await,
            Step::Restriction => self.take_restriction(traveller).await,
            Step::Withdrawal => self.take_withdrawal(traveller).await,
        }
    }

    async fn take_consent(&self, traveller: &Traveller) -> Result<Found> {
        self.agree(&traveller.context, SMS_PURPOSE, PHONE).await?;
        let records = self.consent_records(&traveller.context).await?;
        let Some(newest) = records.first() else { return Ok(Some("A consent left no record.")) };
        let key = self.consent_signer().await?.public_key();
        let is_right = check_consent(newest.record.as_bytes(), Some(&key)).is_ok();
        Ok((!is_right).then_some("The record of a consent does not verify."))
    }

    /// A device of theirs tells of them: they see it, and an operator does not.
    async fn take_own_readings(
        &self,
        traveller: &mut Traveller,
        maker: &ProbeIdentity,
    ) -> Result<Found> {
        let (person, own) = (traveller.email.clone(), traveller.own.clone());
        traveller.device = self.measure(maker, &person, own).await?;
        if !self.sees_own(traveller, Purpose::TwinBuilding).await? {
            return Ok(Some("A person's reading cannot be seen by whoever may see it."));
        }
        let operator = self.open_probe_identity(PROBE_TENANT, NAME, Role::Operator).await?;
        let seen = self.latest(&operator.context, &latest_of(traveller.device)).await;
        self.close_probe_identity(&operator).await?;
        let is_seen = seen?.iter().any(|one| one.value == traveller.own);
        Ok(is_seen.then_some("A person's reading is shown to whoever may not see it."))
    }

    /// Makes a device that is somebody's, and sends one reading of it.
    async fn measure(&self, maker: &ProbeIdentity, person: &str, value: Value) -> Result<DeviceId> {
        let input = DeviceInput {
            name: format!("{NAME} {}", canary(self.rng())),
            kind: NAME.to_owned(),
            ..DeviceInput::default()
        };
        let (device, token) = self.create_device(&maker.context, input).await?;
        let declared = DeclarationInput {
            targets: vec![StreamTarget { device: device.id, key: None }],
            declaration: Declaration::Personal,
            subject: Some(StreamSubject::Device { person: Some(person.to_owned()) }),
        };
        self.declare_streams(&maker.context, declared).await?;
        let login = self.login_device(&token, None).await?;
        let at = self.clock().now();
        let key = Key::new(SERIES).map_err(|error| Error::Internal(error.to_string()))?;
        let batch = DeviceBatch {
            tenant: login.tenant,
            device: login.device,
            credential: login.credential,
            received_at: at,
            readings: vec![Reading { key, at, value, quality: Quality::Good }],
        };
        self.submit(login.tenant, vec![Submission::Readings(batch)]).await?;
        Ok(device.id)
    }

    async fn sees_own(&self, traveller: &Traveller, purpose: Purpose) -> Result<bool> {
        let context = OpContext { purpose, ..traveller.context.clone() };
        let seen = self.latest(&context, &latest_of(traveller.device)).await?;
        Ok(seen.iter().any(|one| one.value == traveller.own))
    }

    /// The copy holds what is theirs, and nothing of somebody else.
    async fn take_copy(&self, traveller: &Traveller, maker: &ProbeIdentity) -> Result<Found> {
        let others = canary(self.rng());
        self.measure(maker, "somebody else", Value::Text(others.as_str().into())).await?;
        self.ask_for(traveller, "access", None).await?;
        let copy = self.export_own(&traveller.context).await?;
        let holds = |text: &str| copy.windows(text.len()).any(|part| part == text.as_bytes());
        Ok(if check_copy(&copy).is_err() {
            Some("A file of a copy is not the one that its manifest names.")
        } else if !holds(&traveller.email) || !holds(traveller.own_text()) {
            Some("A copy lacks something of its person.")
        } else if holds(&others) {
            Some("A copy holds something of somebody else.")
        } else {
            None
        })
    }

    async fn ask_for(
        &self,
        traveller: &Traveller,
        kind: &str,
        purpose: Option<Purpose>,
    ) -> Result<CaseId> {
        let input = OwnCaseInput {
            language: None,
            kind: kind.to_owned(),
            text: Secret::new(String::new()),
            purpose: purpose.map(|purpose| purpose.as_str().to_owned()),
        };
        self.create_own_case(&traveller.context, &input).await
    }

    async fn take_objection(&self, traveller: &Traveller) -> Result<Found> {
        let id = self.ask_for(traveller, "objection", Some(Purpose::TwinBuilding)).await?;
        let goes_on = self.sees_own(traveller, Purpose::TwinBuilding).await?;
        let is_kept = self.sees_own(traveller, Purpose::SecuritySupport).await?;
        self.withdraw_own_case(&traveller.context, id).await?;
        let is_back = self.sees_own(traveller, Purpose::TwinBuilding).await?;
        Ok(if goes_on {
            Some("What somebody objected to goes on.")
        } else if !is_kept {
            Some("An objection to one purpose stopped another.")
        } else if !is_back {
            Some("An objection that was taken back still stands.")
        } else {
            None
        })
    }

    async fn take_restriction(&self, traveller: &Traveller) -> Result<Found> {
        let id = self.ask_for(traveller, "restriction", None).await?;
        let is_shown = self.sees_own(traveller, Purpose::TwinBuilding).await?
            || self.sees_own(traveller, Purpose::SecuritySupport).await?;
        let is_written_to = !self.is_address_restricted(PROBE_TENANT, &traveller.email).await?
            || self.may_be_reached(PROBE_TENANT, traveller.user).await?;
        self.withdraw_own_case(&traveller.context, id).await?;
        let is_back = self.sees_own(traveller, Purpose::TwinBuilding).await?;
        Ok(if is_shown {
            Some("Restricted data is shown.")
        } else if is_written_to {
            Some("Somebody who restricted what is done with their data is written to.")
        } else if !is_back {
            Some("Restricted data was not kept.")
        } else {
            None
        })
    }

    async fn take_withdrawal(&self, traveller: &Traveller) -> Result<Found> {
        self.withdraw_consent(&traveller.context, SMS_PURPOSE).await?;
        let used = self.use_phone(traveller.user).await?;
        let is_stopped = matches!(used, FieldUse::Refused(UseRefused::Withdrawn));
        Ok((!is_stopped).then_some("A field is used although its consent was withdrawn."))
    }

    /// The account goes, with everything that it asked for and decided: it was nobody's.
    async fn forget_traveller(&self, user: UserId) -> Result<()> {
        let tx = self.0.store.begin(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
        for case in tx.cases_of(user).await? {
            tx.limit_delete(case.id).await?;
            tx.case_delete(case.id).await?;
        }
        tx.commit().await?;
        self.limits_changed(PROBE_TENANT);
        self.leave_nothing(user).await
    }
}

fn latest_of(device: DeviceId) -> LatestFilter {
    LatestFilter { devices: Some(vec![device]), ..LatestFilter::default() }
}
