//! The guest agent's program as a file, which containers mount.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::SessionError;

/// Puts the agent of this version into `directory`, unless it is there, and says where. Its name
/// has its digest: sessions of other versions keep theirs.
pub(crate) fn install(directory: &Path) -> Result<PathBuf, SessionError> {
    let agent = axo_helpers::guest_agent();
    let path = directory.join(format!("agent-{}", agent.digest()));
    if fs::read(&path).is_ok_and(|there| there == agent.bytes()) {
        return Ok(path);
    }
    let temporary = directory.join(format!("agent.{}", uuid::Uuid::new_v4().simple()));
    let write = || {
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o555)
            .open(&temporary)?;
        file.write_all(agent.bytes())?;
        file.sync_all()
    };
    write().map_err(SessionError::disk("writing", &temporary))?;
    fs::rename(&temporary, &path).map_err(SessionError::disk("replacing", &path))?;
    Ok(path)
}
