//! The sessions of one owner: making them, finding them, and removing what is left of them.

mod gc;

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axo_core::Policy;
use axo_image::{Image, ImageError, Progress, PullOptions, Reference, Rootfs, Store};

use crate::admit::{AdmittedSession, environment};
use crate::lifecycle::Lifecycle;
use crate::means::Means;
use crate::record::{ImageFacts, Record};
use crate::table::{Table, Unreadable};
use crate::{
    Refused, RefusedReason, Session, SessionError, SessionId, SessionName, SessionTier, Transport,
    sync,
};

pub use gc::Collected;

/// What `rm` and `gc` give processes to end.
pub(crate) const SHORT_GRACE: Duration = Duration::from_secs(2);

/// Where sessions are, and what they are made of.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// What lasts: records.
    pub data: PathBuf,
    /// What lasts as long as the host runs: sockets.
    pub runtime: PathBuf,
    /// The image store.
    pub images: PathBuf,
    /// How the agents of new sessions are reached: [`Transport::here`], but in tests.
    pub transport: Transport,
    /// The operator's rules; `trusted_images` says which images may be fetched.
    pub policy: Policy,
}

/// The sessions of one owner: one data directory.
#[derive(Clone, Debug)]
pub struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: SessionConfig,
    table: Table,
    means: Means,
    /// The tasks that own sessions in this process.
    lives: Mutex<HashMap<SessionId, Lifecycle>>,
}

/// A session whose record cannot be read, or of which podman cannot be asked.
#[derive(Debug)]
pub struct Damaged {
    /// Which one.
    pub id: SessionId,
    /// Why.
    pub error: SessionError,
}

impl From<Unreadable> for Damaged {
    fn from(unreadable: Unreadable) -> Self {
        Self {
            id: unreadable.id,
            error: unreadable.error,
        }
    }
}

impl Sessions {
    /// Opens the sessions of `config`. Those of earlier processes are adopted as they are asked for.
    ///
    /// # Errors
    /// If their directories cannot be made or are not ours alone.
    pub fn open(config: SessionConfig) -> Result<Self, SessionError> {
        let table = Table::open(&config.data, &config.runtime)?;
        Ok(Self {
            inner: Arc::new(Inner {
                means: Means::new(table.clone(), config.data.clone()),
                config,
                table,
                lives: Mutex::default(),
            }),
        })
    }

    /// Makes a session, and returns it when its agent answers and its setup commands are done.
    ///
    /// # Errors
    /// [`SessionError`]; nothing of the session runs then, and its record says what happened.
    pub async fn create(
        &self,
        admitted: &AdmittedSession,
        progress: Arc<dyn Progress>,
    ) -> Result<Session, SessionError> {
        let spec = admitted.spec();
        if let Some(directory) = &spec.directory {
            self.check_directory(directory)?;
        }
        self.check_name(spec.name.as_ref())?;
        for port in &spec.ports {
            TcpListener::bind(port.address()).map_err(|source| SessionError::Port {
                port: port.host,
                session: port.session,
                source,
            })?;
        }
        // Before anything is fetched: without podman, or a machine, there is no session.
        match spec.tier {
            SessionTier::Podman => self.inner.means.containers().await.map(drop)?,
            SessionTier::MicroVm => self.inner.means.machines().await.map(drop)?,
        }
        if let (SessionTier::MicroVm, Some(directory)) = (spec.tier, &spec.directory) {
            sync::check_room(directory, spec.limits.scratch.bytes()).await?;
        }
        let (image, rootfs) = self.image(&spec.image, progress).await?;
        let id = SessionId::random();
        let record = Record::new(id.clone(), spec, facts(&image), self.inner.config.transport);
        // With those of the image.
        environment(&record.environment)?;
        let turn = {
            // Fetching takes long: somebody else may have been quicker.
            let _naming = self.inner.table.lock_names()?;
            self.check_name(spec.name.as_ref())?;
            self.inner.table.add(&record)?
        };
        // After the record, so that no `gc` takes the pin for nobody's; until then `rootfs` holds it.
        if let Err(source) = self.store()?.pin(&rootfs, id.as_str()) {
            self.inner.table.remove(&id)?;
            return Err(SessionError::Image {
                reference: spec.image.clone(),
                source: source.into(),
            });
        }
        let session = self.handle(record);
        session
            .start(
                rootfs.path().to_owned(),
                admitted.directory(),
                turn,
                &spec.setup,
            )
            .await?;
        Ok(session)
    }

    /// What sessions are made of and kept in is no session's to write: whoever can change it can have
    /// commands of theirs run on this host.
    fn check_directory(&self, directory: &Path) -> Result<(), SessionError> {
        let config = &self.inner.config;
        for ours in [&config.data, &config.runtime, &config.images] {
            let ours = ours.canonicalize().unwrap_or_else(|_| ours.clone());
            if ours.starts_with(directory) || directory.starts_with(&ours) {
                return Err(Refused {
                    reason: RefusedReason::Directory {
                        path: directory.to_owned(),
                        why: format!("our own {} is in it, or it in that", ours.display()),
                    },
                    fix: "name a directory that holds nothing but the work".to_owned(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// A name can be given again once its session has ended.
    fn check_name(&self, name: Option<&SessionName>) -> Result<(), SessionError> {
        match name {
            Some(name)
                if self
                    .named(name.as_str())?
                    .is_some_and(|named| !named.state.is_end()) =>
            {
                Err(SessionError::NameTaken(name.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The session of this name, id, or beginning of an id, adopted if this process did not know it.
    /// It may have ended.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] and [`SessionError::Ambiguous`].
    pub async fn find(&self, name: &str) -> Result<Session, SessionError> {
        let record = match self.named(name)? {
            Some(record) => record,
            None => self.by_id(name)?,
        };
        self.adopt(record).await
    }

    fn named(&self, name: &str) -> Result<Option<Record>, SessionError> {
        let (records, _) = self.inner.table.all()?;
        let mut named: Vec<Record> = records
            .into_iter()
            .filter(|record| record.name.as_ref().is_some_and(|n| n.as_str() == name))
            .collect();
        // A name can be given again once its session ended; the living one is meant, or the last.
        named.sort_by_key(|record| (!record.state.is_end(), record.created));
        Ok(named.pop())
    }

    fn by_id(&self, beginning: &str) -> Result<Record, SessionError> {
        let unknown = || SessionError::NotFound(beginning.chars().take(80).collect());
        if let Ok(id) = SessionId::parse(beginning) {
            return self.inner.table.load(&id)?.ok_or_else(unknown);
        }
        let (records, _) = self.inner.table.all()?;
        let mut fitting = records
            .into_iter()
            .filter(|record| beginning.len() >= 4 && record.id.as_str().starts_with(beginning));
        match (fitting.next(), fitting.next()) {
            (Some(record), None) => Ok(record),
            (Some(_), Some(_)) => Err(SessionError::Ambiguous(beginning.to_owned())),
            _ => Err(unknown()),
        }
    }

    /// Every session, oldest first, each looked at; and those that cannot be read or looked at.
    ///
    /// # Errors
    /// If the table cannot be listed.
    pub async fn list(&self) -> Result<(Vec<Session>, Vec<Damaged>), SessionError> {
        let (records, unreadable) = self.inner.table.all()?;
        let mut sessions = Vec::new();
        let mut damaged: Vec<Damaged> = unreadable.into_iter().map(Damaged::from).collect();
        for record in records {
            let id = record.id.clone();
            match self.adopt(record).await {
                Ok(session) => sessions.push(session),
                Err(error) => damaged.push(Damaged { id, error }),
            }
        }
        Ok((sessions, damaged))
    }

    /// A handle on the session of `record`. A session that is not as its record says is looked at,
    /// for which podman is asked.
    async fn adopt(&self, record: Record) -> Result<Session, SessionError> {
        let session = self.handle(record);
        session.look().await?;
        Ok(session)
    }

    /// A handle on the one task of the session of `record`.
    fn handle(&self, record: Record) -> Session {
        let life = self
            .lives()
            .entry(record.id.clone())
            .or_insert_with(|| Lifecycle::adopt(self.inner.means.clone(), record))
            .clone();
        Session::new(self.inner.means.clone(), life)
    }

    /// The image and its root file system; fetched if the policy trusts it.
    async fn image(
        &self,
        reference: &str,
        progress: Arc<dyn Progress>,
    ) -> Result<(Image, Rootfs), SessionError> {
        let problem = |source: ImageError| SessionError::Image {
            reference: reference.to_owned(),
            source: source.into(),
        };
        let store = self.store()?;
        let image = match store.find(reference) {
            Ok(image) => image,
            Err(ImageError::NotFound { .. })
                if self.inner.config.policy.trusts_image(reference) =>
            {
                let parsed = reference.parse::<Reference>().map_err(|source| {
                    problem(ImageError::BadReference {
                        text: reference.to_owned(),
                        source: Some(source.into()),
                    })
                })?;
                store
                    .pull(&parsed, &PullOptions::default(), &*progress)
                    .await
                    .map_err(problem)?
            }
            Err(ImageError::NotFound { .. }) => {
                return Err(SessionError::ForeignImage(reference.to_owned()));
            }
            Err(error) => return Err(problem(error)),
        };
        let unpacking = tokio::task::spawn_blocking(move || {
            let rootfs = store.rootfs(&image, &*progress)?;
            Ok((image, rootfs))
        });
        match unpacking.await {
            Ok(result) => result.map_err(problem),
            Err(_) => Err(SessionError::Unready(
                "unpacking its image was given up".to_owned(),
            )),
        }
    }

    /// Removes a session: stops it if it runs, and forgets it.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn remove(&self, session: &Session) -> Result<(), SessionError> {
        if !session.record().state.is_end() {
            session.stop(SHORT_GRACE).await?;
        }
        let id = session.record().id;
        self.forget(&id)
    }

    fn forget(&self, id: &SessionId) -> Result<(), SessionError> {
        self.lives().remove(id);
        self.store()?
            .unpin(id.as_str())
            .map_err(|source| SessionError::Image {
                reference: id.to_string(),
                source: source.into(),
            })?;
        self.inner.table.remove(id)
    }

    fn lives(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Lifecycle>> {
        // A panic in between leaves the map whole.
        self.inner
            .lives
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> Result<Store, SessionError> {
        Store::open(&self.inner.config.images).map_err(|source| SessionError::Image {
            reference: self.inner.config.images.display().to_string(),
            source: source.into(),
        })
    }
}

/// What of an image's configuration a session takes. Its user is not: a session's processes are the
/// container's root, who has no capabilities, or few.
fn facts(image: &Image) -> ImageFacts {
    let variable = |text: &String| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    ImageFacts {
        digest: image.digest.clone(),
        environment: image.config.env.iter().filter_map(variable).collect(),
        working_directory: image.config.working_dir.clone(),
    }
}
