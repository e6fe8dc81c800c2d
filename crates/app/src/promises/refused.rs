//! What the checks of P05 and P06 need inside the platform: a device of nobody's tenant with its
//! token, an administrator's key, and a search of the files for what was refused.

use async_recursion::async_recursion as boxed;
use veritwin_access::jobs;
use veritwin_domain::{Declaration, DeviceId, Role, Secret};
use veritwin_metastore::{DeviceFilter, Page};

use super::PROBE_TENANT;
use super::fixture::ProbeIdentity;
use super::search::Needles;
use crate::model::DeviceInput;
use crate::{App, Error, Result};

/// A device and a key to write with.
pub struct RefusedFixture {
    device: DeviceId,
    token: Secret<String>,
    identity: ProbeIdentity,
}

impl std::fmt::Debug for RefusedFixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusedFixture").field("device", &self.device).finish_non_exhaustive()
    }
}

impl RefusedFixture {
    /// The device.
    pub const fn device(&self) -> DeviceId {
        self.device
    }

    /// Its token.
    pub const fn token(&self) -> &Secret<String> {
        &self.token
    }

    /// An administrator's key.
    pub const fn api_key(&self) -> &Secret<String> {
        &self.identity.secret
    }
}

/// What a search of the data directory saw.
#[derive(Debug)]
pub struct SearchedFiles {
    /// Files read.
    pub files: u64,
    /// That a file holds the text in clear, and in which form. Which it is, stands in the log.
    pub hit: Option<String>,
}

impl App {
    /// A device of nobody's tenant and a key; `name` is the check's own.
    #[boxed]
    pub async fn open_refused_fixture(&self, name: &str) -> Result<RefusedFixture> {
        self.ensure_probe_tenant().await?;
        let identity = self.open_probe_identity(PROBE_TENANT, name, Role::Administrator).await?;
        match self.refused_device(&identity, name).await {
            Ok((device, token)) => Ok(RefusedFixture { device, token, identity }),
            Err(error) => {
                self.close_probe_identity(&identity).await?;
                Err(error)
            }
        }
    }

    async fn refused_device(
        &self,
        identity: &ProbeIdentity,
        name: &str,
    ) -> Result<(DeviceId, Secret<String>)> {
        // One that a crash left behind goes first.
        let tx = self.0.store.read(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
        let filter = DeviceFilter { search: Some(name.to_owned()), twin: None, among: None };
        let left = tx.devices(&filter, &Page::whole()).await?.items;
        drop(tx);
        for device in left.iter().filter(|device| device.name == name) {
            self.delete_device(&identity.context, device.id).await?;
        }
        let input = DeviceInput {
            name: name.to_owned(),
            declaration: Declaration::NonPersonal,
            ..DeviceInput::default()
        };
        let (device, token) = self.create_device(&identity.context, input).await?;
        Ok((device.id, token))
    }

    /// Removes the device and ends the key.
    #[boxed]
    pub async fn close_refused_fixture(&self, fixture: RefusedFixture) -> Result<()> {
        let removed = self.delete_device(&fixture.identity.context, fixture.device).await;
        self.close_probe_identity(&fixture.identity).await?;
        removed
    }

    /// Brings to disk what is in memory and searches every file for an ASCII text in clear.
    #[boxed]
    pub async fn search_files(&self, text: &str) -> Result<SearchedFiles> {
        let needles = Needles::of(text);
        if !needles.find_themselves() {
            return Err(Error::Internal("the search does not find what is there".to_owned()));
        }
        self.flush_activity().await;
        self.0.engine.flush().await?;
        let searched = self.search_data(needles).await?;
        let told = |hit: super::search::Hit| format!("{} ({})", hit.place(), hit.form);
        Ok(SearchedFiles { files: searched.files, hit: searched.hit.map(told) })
    }
}
