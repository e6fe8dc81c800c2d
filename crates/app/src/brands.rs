//! How a tenant presents itself under its host names: name, colours, logo, contact and legal
//! texts. A host name chooses a face and nothing else; what anybody may do hangs on the session.

use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind};
use veritwin_domain::{NAME_RULE, OpContext, PlatformContext, Secret, TenantId, find_unseen};
use veritwin_metastore::{Brand, TenantKind};
use veritwin_outbound::mail::Voice;

use crate::change::Change;
use crate::model::{BrandInput, BrandView, Face};
use crate::png;
use crate::provision::{PLATFORM_TENANT, is_nobodys, is_own, refuse_address};
use crate::theme::Palette;
use crate::{App, Error, Result, recorded};

/// The product's name where no brand says another.
pub(crate) const PRODUCT: &str = "Veritwin";
const NAME_CHARS_MAX: usize = 60;
const ADDRESS_CHARS_MAX: usize = 300;
/// Longest legal text, in characters.
const LEGAL_CHARS_MAX: usize = 20_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Body {
    product: String,
    light: String,
    dark: String,
    contact_name: String,
    contact_email: String,
    contact_address: String,
    privacy: String,
    terms: String,
    imprint: String,
}

/// Which page before sign-in is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Door<'a> {
    /// The host name that was asked for.
    pub host: Option<&'a str>,
    /// The organisation whose own sign-in page it is.
    pub organisation: Option<TenantId>,
}

/// A brand in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredBrand {
    pub(crate) body: BrandInput,
    pub(crate) palette: Palette,
    pub(crate) logo: Option<Vec<u8>>,
    pub(crate) version: i64,
}

impl StoredBrand {
    pub(crate) fn load(brand: Brand) -> Result<Self> {
        let body: Body = serde_json::from_slice(&brand.body)
            .map_err(|_| Error::Internal("a brand is damaged".to_owned()))?;
        Ok(Self {
            // What was readable once stays; a stricter build shows its own colours instead.
            palette: Palette::new(&body.light, &body.dark).unwrap_or_default(),
            body: body.into(),
            logo: brand.logo,
            version: i64::try_from(brand.version).unwrap_or(i64::MAX),
        })
    }

    /// Whether it says how to reach whoever answers.
    pub(crate) fn is_reachable(&self) -> bool {
        !self.body.contact_name.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn reachable(name: &str) -> Self {
        let body = BrandInput { contact_name: name.to_owned(), ..BrandInput::default() };
        Self { body, ..Self::default() }
    }
}

impl From<Body> for BrandInput {
    fn from(body: Body) -> Self {
        Self {
            product: body.product,
            light: body.light,
            dark: body.dark,
            contact_name: body.contact_name,
            contact_email: body.contact_email,
            contact_address: body.contact_address,
            privacy: body.privacy,
            terms: body.terms,
            imprint: body.imprint,
        }
    }
}

impl From<BrandInput> for Body {
    fn from(input: BrandInput) -> Self {
        Self {
            product: input.product,
            light: input.light,
            dark: input.dark,
            contact_name: input.contact_name,
            contact_email: input.contact_email,
            contact_address: input.contact_address,
            privacy: input.privacy,
            terms: input.terms,
            imprint: input.imprint,
        }
    }
}

fn line(field: &str, text: &str, chars_max: usize) -> Result<String> {
    let text = text.trim();
    if text.chars().count() > chars_max {
        return Err(Error::invalid_at(field, format!("at most {chars_max} characters")));
    }
    if text.split('\n').any(|line| find_unseen(line).is_some()) {
        return Err(Error::invalid_at(field, NAME_RULE));
    }
    Ok(text.to_owned())
}

fn single(field: &str, text: &str, chars_max: usize) -> Result<String> {
    let text = line(field, text, chars_max)?;
    if text.contains('\n') {
        return Err(Error::invalid_at(field, "must be a single line"));
    }
    Ok(text)
}

/// It stands in subjects of mails, as a tenant's name does.
fn checked_product(product: &str) -> Result<String> {
    let product = single("product", product, NAME_CHARS_MAX)?;
    refuse_address("product", &product)?;
    Ok(product)
}

fn checked(input: &BrandInput) -> Result<(BrandInput, Palette)> {
    let palette = Palette::new(input.light.trim(), input.dark.trim())
        .map_err(|(field, detail)| Error::invalid_at(field, detail))?;
    let email = input.contact_email.trim();
    if !email.is_empty() && !veritwin_outbound::mail::is_address(email) {
        return Err(Error::invalid_at("contact_email", "expected the form name@host"));
    }
    let text = |field: &str, text: &str| line(field, &text.replace('\r', ""), LEGAL_CHARS_MAX);
    let body = BrandInput {
        product: checked_product(&input.product)?,
        light: input.light.trim().to_ascii_lowercase(),
        dark: input.dark.trim().to_ascii_lowercase(),
        contact_name: single("contact_name", &input.contact_name, NAME_CHARS_MAX)?,
        contact_email: email.to_owned(),
        contact_address: single("contact_address", &input.contact_address, ADDRESS_CHARS_MAX)?,
        privacy: text("privacy", &input.privacy)?,
        terms: text("terms", &input.terms)?,
        imprint: text("imprint", &input.imprint)?,
    };
    Ok((body, palette))
}

impl App {
    /// One's own brand.
    #[boxed]
    pub async fn brand(&self, context: &OpContext) -> Result<BrandView> {
        let resource = self.authorize_all(context, Action::BrandRead, Kind::Tenant)?;
        self.note(context, Action::BrandRead, &resource, "done");
        Ok(self.brand_view(context.tenant))
    }

    fn brand_view(&self, tenant: TenantId) -> BrandView {
        let tree = self.0.tree.read();
        let stored = tree.brands.get(&tenant).cloned().unwrap_or_default();
        BrandView {
            brand: stored.body.clone(),
            has_logo: stored.logo.is_some(),
            hosts: tree.hosts_of(tenant),
            version: stored.version,
        }
    }

    /// Replaces one's own brand; the logo stays.
    #[boxed]
    pub async fn replace_brand(
        &self,
        context: &OpContext,
        input: BrandInput,
        if_version: Option<i64>,
    ) -> Result<BrandView> {
        self.authorize_all(context, Action::BrandWrite, Kind::Tenant)?;
        let (body, palette) = checked(&input)?;
        let known = self.0.tree.read().brands.get(&context.tenant).cloned().unwrap_or_default();
        let stored = StoredBrand { body, palette, logo: known.logo.clone(), version: 0 };
        self.store_brand(context, stored, if_version).await
    }

    /// Replaces one's own logo, or takes it away. What is stored is written anew from the checked
    /// parts of a PNG image.
    #[boxed]
    pub async fn replace_logo(&self, context: &OpContext, png: Option<&[u8]>) -> Result<BrandView> {
        self.authorize_all(context, Action::BrandWrite, Kind::Tenant)?;
        let clean = png.map(png::cleaned).transpose();
        let logo = clean.map_err(|detail| Error::invalid_at("logo", detail))?;
        let known = self.0.tree.read().brands.get(&context.tenant).cloned().unwrap_or_default();
        self.store_brand(context, StoredBrand { logo, ..(*known).clone() }, None).await
    }

    pub(crate) async fn store_brand(
        &self,
        context: &OpContext,
        mut stored: StoredBrand,
        if_version: Option<i64>,
    ) -> Result<BrandView> {
        let row = Brand {
            tenant: context.tenant,
            body: serde_json::to_vec(&Body::from(stored.body.clone()))
                .map_err(|error| Error::Internal(error.to_string()))?,
            logo: stored.logo.clone(),
            version: 0,
            updated_at: context.at,
        };
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.brand_put(&row, expected).await?;
        let action = Action::BrandWrite;
        let known = self.0.tree.read().brands.get(&context.tenant).cloned();
        let before = known.map(|known| recorded::brand(&known));
        let change = Change { before, after: Some(recorded::brand(&stored)) };
        let done = (action, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        tx.commit().await?;
        {
            let mut tree = self.0.tree.write();
            let known = tree.brands.get(&context.tenant).map_or(0, |brand| brand.version);
            stored.version = known + 1;
            tree.brands.insert(context.tenant, Arc::new(stored));
        }
        Ok(self.brand_view(context.tenant))
    }

    /// The tenant that a host name was given to; names nobody was given are the platform's.
    pub(crate) fn tenant_of_host(&self, host: Option<&str>) -> TenantId {
        let name = host.and_then(|host| {
            let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
            crate::partners::host_name(name)
        });
        let tree = self.0.tree.read();
        name.and_then(|name| tree.hosts.get(&name).copied()).unwrap_or(PLATFORM_TENANT)
    }

    /// Whether a host name, with or without a port, was given to a tenant.
    pub fn is_given_host(&self, host: &str) -> bool {
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let name = crate::partners::host_name(name);
        name.is_some_and(|name| self.0.tree.read().hosts.contains_key(&name))
    }

    /// The host names of one's own tenant.
    pub fn hosts_of(&self, context: &OpContext) -> Vec<String> {
        self.0.tree.read().hosts_of(context.tenant)
    }

    /// Who answers for those who come to a tenant's sign-in page: a partner for its own customers.
    pub(crate) fn answers_at(&self, tenant: TenantId) -> TenantId {
        let is_partner = {
            let tree = self.0.tree.read();
            let kind = tree.get(tenant).map(|one| one.place.kind);
            let is_reachable = tree.brands.get(&tenant).is_some_and(|brand| brand.is_reachable());
            kind == Some(TenantKind::Partner) && is_reachable
        };
        if is_partner { tenant } else { self.responsible(tenant) }
    }

    /// Whose brand a page shows: the nearest one of an organisation whose own sign-in page it is,
    /// else the host name's.
    fn shown_at(&self, door: Door<'_>) -> (TenantId, Option<(TenantId, String)>) {
        match self.own_door(door.organisation) {
            Some((shown, own)) => (shown, Some(own)),
            None => (self.tenant_of_host(door.host), None),
        }
    }

    /// Whose brand an organisation shows, its id and its name; none of one that is not there, or
    /// not served.
    fn own_door(&self, organisation: Option<TenantId>) -> Option<(TenantId, (TenantId, String))> {
        let tree = self.0.tree.read();
        let id = organisation.filter(|id| !is_nobodys(*id) && tree.is_served(*id))?;
        let name = tree.get(id)?.name.clone();
        let has_brand =
            |id: &TenantId| tree.brands.get(id).is_some_and(|brand| !brand.body.product.is_empty());
        let branded = tree.upwards(id).find(has_brand);
        Some((branded.unwrap_or(id), (id, name)))
    }

    /// What a host name, or the sign-in page of an organisation, shows to anybody.
    pub fn face(&self, context: &PlatformContext, door: Door<'_>) -> Result<Face> {
        self.authorize_platform(context, Action::BrandShow)?;
        let (tenant, organisation) = self.shown_at(door);
        let answers = self.answers_at(tenant);
        let tree = self.0.tree.read();
        let stored = tree.brands.get(&tenant).cloned().unwrap_or_default();
        let body = &stored.body;
        let product = Some(body.product.clone()).filter(|name| !name.is_empty());
        Ok(Face {
            organisation,
            is_set_up: tree.ids().any(|id| !is_own(id)),
            product: product.unwrap_or_else(|| PRODUCT.to_owned()),
            has_logo: stored.logo.is_some(),
            version: stored.version,
            answered_by: tree.answering(answers),
            privacy: body.privacy.clone(),
            terms: body.terms.clone(),
            imprint: body.imprint.clone(),
        })
    }

    /// The style sheet of a host name, made from checked values.
    pub fn theme_css(&self, context: &PlatformContext, host: Option<&str>) -> Result<String> {
        self.authorize_platform(context, Action::BrandShow)?;
        let tenant = self.tenant_of_host(host);
        let brand = self.0.tree.read().brands.get(&tenant).cloned().unwrap_or_default();
        Ok(brand.palette.css())
    }

    /// The logo that goes with a face, a PNG image.
    pub fn logo(&self, context: &PlatformContext, door: Door<'_>) -> Result<Vec<u8>> {
        self.authorize_platform(context, Action::BrandShow)?;
        let (tenant, _) = self.shown_at(door);
        let brand = self.0.tree.read().brands.get(&tenant).cloned().unwrap_or_default();
        brand.logo.clone().ok_or(Error::NotFound("logo"))
    }

    /// What a tenant's people know the product as.
    pub(crate) fn product_of(&self, tenant: TenantId) -> String {
        self.mail_voice(Some(tenant)).name.unwrap_or_else(|| PRODUCT.to_owned())
    }

    /// In whose name a mail to people of a tenant speaks: the nearest brand's, and answers go to
    /// whoever answers for the tenant.
    pub(crate) fn mail_voice(&self, tenant: Option<TenantId>) -> Voice {
        let Some(tenant) = tenant else { return Voice::default() };
        let responsible = self.responsible(tenant);
        let tree = self.0.tree.read();
        let product = |id: TenantId| {
            let brand = tree.brands.get(&id)?;
            Some(brand.body.product.clone()).filter(|name| !name.is_empty())
        };
        Voice {
            name: tree.upwards(tenant).find_map(product),
            reply_to: tree.answering(responsible).email.map(Secret::new),
        }
    }
}
