//! Who may connect: the ingest crate's `Login`, answered by use cases.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use veritwin_app::{BasicLogin, ChildWanted, DeviceLogin, Error, WriterLogin};
use veritwin_domain::{DeviceId, ProvisionAnswer, ProvisionRequest, Secret};
use veritwin_ingest::{
    ChildName, Credential, DeviceSession, Login, LoginError, PeerInfo, Place, Transport, Writer,
    WriterSession,
};

use super::decoding::decoder;
use super::devices::LiveState;

/// When a device that found no place may try again.
const CONNECT_AGAIN: Duration = Duration::from_secs(30);
/// When a program whose tenant has too many requests open may try again.
const REQUEST_AGAIN: Duration = Duration::from_secs(1);

fn login_error(error: Error) -> LoginError {
    match error {
        Error::Unauthenticated(_) | Error::NotFound(_) => LoginError::Unknown,
        Error::Forbidden(detail) | Error::KeyDestroyed(detail) => LoginError::Denied(detail),
        Error::KeyRevoked => LoginError::Denied("key_revoked".to_owned()),
        Error::Outside(detail) => LoginError::Denied(detail.to_owned()),
        Error::Rate(exceeded) => LoginError::Busy {
            detail: exceeded.to_string(),
            limit: Some(exceeded.name),
            retry_after: exceeded.retry_after,
        },
        Error::Busy { retry_after } => {
            LoginError::Busy { detail: "attempts".to_owned(), limit: None, retry_after }
        }
        other => LoginError::Unavailable(other.told()),
    }
}

/// What is wrong with the request itself reaches whoever knows the profile's secret.
fn provision_error(error: Error) -> LoginError {
    match error {
        Error::Conflict(detail) => LoginError::Denied(detail),
        Error::Invalid { detail, at: Some(at) } => LoginError::Denied(format!("{at}: {detail}")),
        Error::Invalid { detail, at: None } => LoginError::Denied(detail),
        Error::Limit(limit) => LoginError::Denied(limit.to_string()),
        other => login_error(other),
    }
}

/// Why a gateway may not speak for one name; the text is for the gateway.
fn child_error(error: Error) -> LoginError {
    match error {
        Error::Limit(limit) => LoginError::Denied(limit.to_string()),
        Error::Invalid { detail, at } => {
            LoginError::Denied(format!("{}: {detail}", at.as_deref().unwrap_or("name")))
        }
        other => login_error(other),
    }
}

fn address_of(peer: &PeerInfo) -> Option<IpAddr> {
    peer.address.map(|address| address.ip().to_canonical())
}

fn session(login: &DeviceLogin, peer: &PeerInfo) -> DeviceSession {
    let mut session = DeviceSession::new(login.tenant, login.device, login.credential);
    session.transport = Some(peer.transport);
    session.address = address_of(peer);
    session.name = Some(Secret::new(login.name.to_string()));
    session.gateway = login.is_gateway;
    session.sparkplug_host = login.is_sparkplug_host;
    session.ends_at = login.ends_at;
    session.certificate.clone_from(&login.certificate);
    session
}

/// A gateway as its session knows it.
fn gateway_login(gateway: &DeviceSession) -> DeviceLogin {
    DeviceLogin {
        tenant: gateway.tenant,
        device: gateway.device,
        credential: gateway.credential,
        name: "".into(),
        is_gateway: true,
        is_sparkplug_host: false,
        ends_at: gateway.ends_at,
        certificate: gateway.certificate.clone(),
    }
}

#[async_trait]
impl Login for LiveState {
    async fn authenticate(
        &self,
        credential: Credential,
        peer: &PeerInfo,
    ) -> Result<Arc<DeviceSession>, LoginError> {
        let login = match credential {
            Credential::Token(token) => self.app().login_device(&token, address_of(peer)).await,
            Credential::Password { client_id, user, password } => {
                let shown = BasicLogin { client_id, user, password };
                self.app().login_device_basic(&shown, address_of(peer)).await
            }
            Credential::Certificate(shown) => {
                self.app().login_device_certificate(&shown, address_of(peer)).await
            }
        };
        let mut session = session(&login.map_err(login_error)?, peer);
        session.decoder = Some(decoder(self.app(), session.tenant, session.device).await);
        if matches!(peer.transport, Transport::Mqtt3 | Transport::Mqtt5) {
            let place =
                self.places().connect(session.tenant).map_err(|limit| LoginError::Busy {
                    detail: limit.to_string(),
                    limit: Some(limit.name),
                    retry_after: CONNECT_AGAIN,
                })?;
            session.place = Place::new(place);
        }
        Ok(Arc::new(session))
    }

    async fn authenticate_writer(
        &self,
        token: Secret<String>,
        peer: &PeerInfo,
    ) -> Result<Writer, LoginError> {
        let origin = veritwin_domain::Origin { address: address_of(peer), ..Default::default() };
        match self.app().login_writer(&token, origin).await.map_err(login_error)? {
            WriterLogin::Device(login) => Ok(Writer::Device(Arc::new(session(&login, peer)))),
            WriterLogin::Program { context, credential } => {
                let tenant = context.tenant;
                let place =
                    self.places().begin_request(tenant).map_err(|limit| LoginError::Busy {
                        detail: limit.to_string(),
                        limit: Some(limit.name),
                        retry_after: REQUEST_AGAIN,
                    })?;
                let (place, context) = (Place::new(place), Some(*context));
                Ok(Writer::Tenant(Arc::new(WriterSession { tenant, context, credential, place })))
            }
        }
    }

    async fn devices_by_name(
        &self,
        writer: &WriterSession,
        names: &[String],
    ) -> Result<Vec<Option<Arc<DeviceSession>>>, LoginError> {
        let context = writer.context.as_ref().ok_or(LoginError::Unknown)?;
        let found = self.app().devices_to_write(context, names).await.map_err(login_error)?;
        Ok(found
            .into_iter()
            .map(|device| {
                let device = device?;
                Some(Arc::new(DeviceSession::new(writer.tenant, device, writer.credential)))
            })
            .collect())
    }

    async fn provision(
        &self,
        request: ProvisionRequest,
        peer: &PeerInfo,
    ) -> Result<ProvisionAnswer, LoginError> {
        let shown = peer.certificate.as_ref();
        let given = self.app().provision_device(request, shown, address_of(peer)).await;
        given.map_err(provision_error)
    }

    async fn children(
        &self,
        gateway: &DeviceSession,
        names: &[ChildName],
    ) -> Result<Vec<Result<Arc<DeviceSession>, LoginError>>, LoginError> {
        if !gateway.gateway {
            return Err(LoginError::Denied("this device is no gateway".to_owned()));
        }
        let login = gateway_login(gateway);
        let wanted = names
            .iter()
            .map(|one| ChildWanted { name: one.name.clone(), kind: one.kind.clone() })
            .collect::<Vec<_>>();
        let found = self.app().gateway_children(&login, &wanted).await.map_err(child_error)?;
        let child = |login: DeviceLogin| {
            let mut child = DeviceSession::new(login.tenant, login.device, login.credential);
            child.address = gateway.address;
            child.name = Some(Secret::new(login.name.to_string()));
            Arc::new(child)
        };
        Ok(found.into_iter().map(|one| one.map(child).map_err(child_error)).collect())
    }

    async fn children_there(
        &self,
        gateway: &DeviceSession,
        names: &[String],
    ) -> Result<Vec<Option<DeviceId>>, LoginError> {
        let login = gateway_login(gateway);
        self.app().gateway_children_there(&login, names).await.map_err(child_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_signs_in_is_not_told_what_broke_inside() {
        for told in [login_error, provision_error, child_error] {
            let error = told(Error::Internal("log: /srv/data/log/7: bad block".to_owned()));
            let text = error.to_string();
            let is_told = matches!(error, LoginError::Unavailable(_));
            assert!(is_told && text.contains("a part inside broke"), "{text}");
            assert!(!text.contains("/srv"), "{text}");
        }
    }
}
