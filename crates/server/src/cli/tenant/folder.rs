//! The folder of an exported tenant: files that are whole, each with its hash, and a manifest that
//! is written last. What is read out of one is looked for inside it only, and checked first.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use veritwin_verify::Sha256;

/// What the manifest calls itself.
const FORMAT: &str = "veritwin-tenant-export";
const VERSION: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// What is finished of an export that is not.
const STATE: &str = "export.json";
/// Largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest line of a list, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most files of an export.
const FILES_MAX: usize = 100_000;

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Where it is in the folder.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// How many things it lists.
    pub(super) items: Option<u64>,
}

/// What could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeftOut {
    pub(super) what: String,
    pub(super) why: String,
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) version: u32,
    /// The build that wrote it.
    pub(super) made_by: String,
    pub(super) began_at: String,
    pub(super) ended_at: Option<String>,
    pub(super) tenant_id: String,
    pub(super) tenant_name: String,
    pub(super) files: Vec<Entry>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Manifest {
    pub(super) fn new(tenant: &Value, began_at: String) -> Self {
        let text = |name: &str| tenant[name].as_str().unwrap_or_default().to_owned();
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            made_by: format!("veritwin {}", env!("CARGO_PKG_VERSION")),
            began_at,
            ended_at: None,
            tenant_id: text("id"),
            tenant_name: text("name"),
            files: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let mut text = Vec::new();
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text)?;
        ensure!(
            text.len() as u64 <= MANIFEST_BYTES_MAX,
            "{shown}: limit manifest_bytes_max exceeded: at most {MANIFEST_BYTES_MAX}"
        );
        let manifest: Self =
            serde_json::from_slice(&text).with_context(|| format!("{shown} is no manifest"))?;
        ensure!(
            manifest.format == FORMAT && manifest.version == VERSION,
            "{shown} is of another form: expected {FORMAT} version {VERSION}"
        );
        ensure!(
            manifest.files.len() <= FILES_MAX,
            "{shown}: limit export_files_max exceeded: at most {FILES_MAX}"
        );
        Ok(manifest)
    }

    /// A file by its place in the folder.
    pub(super) fn file(&self, path: &str) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.path == path)
    }
}

/// A folder that is written.
pub(super) struct Writing {
    root: PathBuf,
    pub(super) manifest: Manifest,
}

fn private_file(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).with_context(|| format!("cannot write {}", path.display()))
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a small file beside its name and moves it there.
fn write_whole(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let beside = path.with_extension("part");
    let mut file = private_file(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(())
}

impl Writing {
    /// A new folder, or one of the same tenant that is not finished: it goes on.
    pub(super) fn open(root: &Path, fresh: Manifest) -> anyhow::Result<Self> {
        let shown = root.display();
        ensure!(!root.join(MANIFEST).exists(), "{shown} holds an export already");
        let state = root.join(STATE);
        let manifest = if state.exists() {
            let known = Manifest::read(&state)?;
            ensure!(
                known.tenant_id == fresh.tenant_id,
                "{shown} holds the beginning of another tenant's export"
            );
            known
        } else {
            // What a kill left of the first write is nothing yet.
            let is_own = |name: std::ffi::OsString| name == "export.part";
            let is_empty = fs::read_dir(root).map_or(true, |mut all| {
                all.all(|one| one.is_ok_and(|one| is_own(one.file_name())))
            });
            ensure!(is_empty, "{shown} is not empty, and holds no export");
            private_folder(root)?;
            fresh
        };
        write_whole(&state, &manifest)?;
        Ok(Self { root: root.to_owned(), manifest })
    }

    /// A file to write; none when it is finished.
    pub(super) fn begin(&self, path: &str) -> anyhow::Result<Option<WritingFile>> {
        if self.manifest.file(path).is_some() {
            return Ok(None);
        }
        ensure!(is_plain(path), "{path:?} leads out of the export");
        let place = self.root.join(path);
        if let Some(folder) = place.parent() {
            private_folder(folder)?;
        }
        let mut beside = place.as_os_str().to_owned();
        beside.push(".part");
        let beside = PathBuf::from(beside);
        let writer = BufWriter::new(private_file(&beside)?);
        let hash = Sha256::default();
        Ok(Some(WritingFile { path: path.to_owned(), place, beside, writer, hash, bytes: 0 }))
    }

    /// A file is whole.
    pub(super) fn finish(&mut self, file: WritingFile, items: Option<u64>) -> anyhow::Result<()> {
        let WritingFile { path, place, beside, writer, hash, bytes } = file;
        let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&beside, &place)?;
        let sha256 = hex::encode(hash.finish().as_bytes());
        self.manifest.files.push(Entry { path, bytes, sha256, items });
        write_whole(&self.root.join(STATE), &self.manifest)
    }

    /// Says what could not be read.
    pub(super) fn leave_out(&mut self, what: &str, why: String) {
        self.manifest.left_out.retain(|known| known.what != what);
        self.manifest.left_out.push(LeftOut { what: what.to_owned(), why });
    }

    /// The export is whole.
    pub(super) fn end(mut self, ended_at: String) -> anyhow::Result<Manifest> {
        self.manifest.ended_at = Some(ended_at);
        write_whole(&self.root.join(MANIFEST), &self.manifest)?;
        fs::remove_file(self.root.join(STATE))?;
        Ok(self.manifest)
    }

    /// Lines of a list that is finished.
    pub(super) fn rows(&self, path: &str) -> anyhow::Result<Rows> {
        rows(&self.root, path)
    }
}

/// A file that is written.
pub(super) struct WritingFile {
    path: String,
    place: PathBuf,
    beside: PathBuf,
    writer: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl WritingFile {
    pub(super) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.writer.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Keeps nothing of it.
    pub(super) fn discard(self) {
        // It is written anew where the export goes on.
        let _gone = fs::remove_file(&self.beside);
    }

    pub(super) fn line(&mut self, item: &Value) -> anyhow::Result<()> {
        let mut line = item.to_string();
        line.push('\n');
        self.write(line.as_bytes())
    }
}

/// Whether a path leads on from a folder, and never up or elsewhere.
fn is_plain(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// A place inside a folder: a plain path, and no link on the way.
pub(super) fn inside(root: &Path, path: &str) -> anyhow::Result<PathBuf> {
    ensure!(is_plain(path), "{path:?} leads out of the export");
    let mut place = root.to_owned();
    for part in Path::new(path).components() {
        place.push(part);
        let meta = fs::symlink_metadata(&place)
            .with_context(|| format!("the export lacks {}", place.display()))?;
        ensure!(!meta.file_type().is_symlink(), "{path:?} is a link: an export holds none");
    }
    ensure!(place.is_file(), "{path:?} is no file");
    Ok(place)
}

/// Reads the manifest of a folder and checks every file that it names.
pub(super) fn checked(root: &Path) -> anyhow::Result<Manifest> {
    let manifest = Manifest::read(&root.join(MANIFEST))
        .context("expected the folder of a finished `veritwin export`")?;
    for entry in &manifest.files {
        let place = inside(root, &entry.path)?;
        let mut file = File::open(&place)?;
        let (mut hash, mut bytes, mut part) = (Sha256::default(), 0u64, vec![0; 256 * 1024]);
        loop {
            let read = file.read(&mut part)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            ensure!(bytes <= entry.bytes, "{} is longer than it was", entry.path);
            hash.update(&part[..read]);
        }
        let sha256 = hex::encode(hash.finish().as_bytes());
        if bytes != entry.bytes || !sha256.eq_ignore_ascii_case(&entry.sha256) {
            bail!("{} is not what the manifest says: it was changed or is damaged", entry.path);
        }
    }
    Ok(manifest)
}

/// Lines of a list, one at a time.
pub(super) struct Rows {
    reader: BufReader<File>,
    path: String,
    line: u64,
}

/// The lines of a list in a folder.
pub(super) fn rows(root: &Path, path: &str) -> anyhow::Result<Rows> {
    let file = File::open(inside(root, path)?)?;
    Ok(Rows { reader: BufReader::new(file), path: path.to_owned(), line: 0 })
}

impl Rows {
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let mut line = Vec::new();
        (&mut self.reader).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
        self.line += 1;
        let place = format!("{} line {}", self.path, self.line);
        if line.is_empty() {
            return Ok(None);
        }
        ensure!(
            line.len() as u64 <= LINE_BYTES_MAX,
            "{place}: limit export_line_bytes_max exceeded: at most {LINE_BYTES_MAX}"
        );
        serde_json::from_slice(&line).map(Some).with_context(|| format!("{place} is not JSON"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(root: &Path) -> Manifest {
        let tenant = json!({"id": "t", "name": "Acme"});
        let fresh = Manifest::new(&tenant, "2026-01-01T00:00:00Z".to_owned());
        let mut writing = Writing::open(root, fresh).expect("a folder");
        let mut file = writing.begin("lists/devices.ndjson").expect("a file").expect("new");
        file.line(&json!({"name": "Pump"})).expect("written");
        writing.finish(file, Some(1)).expect("finished");
        assert!(writing.begin("lists/devices.ndjson").expect("asked").is_none());
        writing.end("2026-01-01T00:01:00Z".to_owned()).expect("ended")
    }

    #[test]
    fn a_folder_is_read_as_it_was_written_or_not_at_all() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().join("out");
        let manifest = written(&root);
        assert_eq!(checked(&root).expect("whole"), manifest);
        let mut rows = rows(&root, "lists/devices.ndjson").expect("rows");
        assert_eq!(rows.next().expect("a row"), Some(json!({"name": "Pump"})));
        assert_eq!(rows.next().expect("the end"), None);
        fs::write(root.join("lists/devices.ndjson"), b"{\"name\":\"Bump\"}\n").expect("changed");
        let error = checked(&root).expect_err("changed").to_string();
        assert!(error.contains("changed or is damaged"), "{error}");
    }

    #[test]
    fn what_a_kill_left_goes_on_and_nothing_is_written_outside_of_the_folder() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().join("out");
        fs::create_dir(&root).expect("a folder");
        fs::write(root.join("export.part"), b"{").expect("written");
        let fresh = Manifest::new(&json!({"id": "t", "name": "Acme"}), String::new());
        let writing = Writing::open(&root, fresh.clone()).expect("it goes on");
        // A list names twins by what the platform answers.
        for path in ["twins/../../secret/source.ifc", "/tmp/source.ifc", "twins//..", ""] {
            assert!(writing.begin(path).is_err(), "{path}");
        }
        drop(writing);
        let other = dir.path().join("other");
        fs::create_dir(&other).expect("a folder");
        fs::write(other.join("mine"), b"m").expect("written");
        assert!(Writing::open(&other, fresh).is_err());
    }

    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().join("out");
        written(&root);
        fs::write(dir.path().join("secret"), b"s").expect("written");
        for path in ["../secret", "/etc/passwd", "", ".", "lists/../../secret", "lists"] {
            assert!(inside(&root, path).is_err(), "{path}");
        }
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("link")).expect("a link");
        let error = inside(&root, "link").expect_err("a link").to_string();
        assert!(error.contains("link"), "{error}");
    }
}
