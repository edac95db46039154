//! An application with a home of its own, and a remote beside it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use jiff::{Timestamp, ToSpan};
use tempfile::TempDir;

use crate::{
    config::Config,
    ident::ReleaseId,
    process::Launcher,
    release::{BuildError, FetchError, Manifest, Source, Upload, Wanted, Workshop},
};

pub(super) struct Shop {
    pub(super) dir: TempDir,
    pub(super) workshop: Workshop,
    /// What was told.
    pub(super) told: Vec<String>,
    built: i64,
}

impl Shop {
    /// With these keys of its configuration; `HOME` stands for its home, `REMOTE` for the remote.
    pub(super) fn new(keys: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("aibk-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let launcher = Launcher::new(dir.path()).unwrap();
        let workshop = Self::opened(dir.path(), keys, &launcher);
        Self { dir, workshop, told: Vec::new(), built: 0 }
    }

    fn opened(dir: &Path, keys: &str, launcher: &Arc<Launcher>) -> Workshop {
        let text = format!(
            "services: {{api: {{app: 'a:b', directory: HOME/current/backend, slots: [8000]}}}}\n\
             apps: {{shop: {{home: HOME, services: [api], {keys}}}}}"
        );
        let home = dir.join("home");
        let text = text.replace("HOME", home.to_str().unwrap());
        let text = text.replace("REMOTE", dir.join("remote").to_str().unwrap());
        let config = Config::parse(&text, Path::new("/etc/aibk.yaml")).unwrap();
        Workshop::new(config.apps.values().next().unwrap(), launcher)
    }

    pub(super) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(super) fn remote(&self) -> PathBuf {
        self.dir.path().join("remote")
    }

    /// Writes a file of the remote.
    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.remote().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes a wheel of one module into `wheels` of the remote: installed without any network.
    pub(super) fn wheel(&self, name: &str) {
        let script = format!(
            "import zipfile\nw = zipfile.ZipFile('{name}-1.0-py3-none-any.whl', 'w')\n\
             w.writestr('{name}.py', 'SAYS = 1\\n')\n\
             w.writestr('{name}-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n')\n\
             w.writestr('{name}-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
             w.writestr('{name}-1.0.dist-info/RECORD', '')\nw.close()\n"
        );
        let wheels = self.remote().join("wheels");
        fs::create_dir_all(&wheels).unwrap();
        let made = Command::new("python3").args(["-c", &script]).current_dir(wheels).status();
        assert!(made.unwrap().success());
    }

    /// git in the remote.
    pub(super) fn git(&self, args: &[&str]) -> String {
        fs::create_dir_all(self.remote()).unwrap();
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Jo Doe", "-c", "user.email=jo@example.org"]);
        git.args(args).current_dir(self.remote()).env("GIT_CONFIG_NOSYSTEM", "1");
        let done = git.output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// A remote with a branch `main`, and nothing in it.
    pub(super) fn init(&self) {
        self.git(&["init", "--quiet", "--initial-branch=main"]);
    }

    /// Commits all there is; its name.
    pub(super) fn commit(&self, subject: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(super) async fn fetch(&mut self, name: Option<&str>) -> Result<Source, FetchError> {
        let told = &mut self.told;
        let wanted = Wanted::Ref(name.map(str::to_owned));
        self.workshop.fetch(&wanted, &mut |line| told.push(line.to_owned())).await
    }

    pub(super) async fn fetch_error(&mut self, name: &str) -> String {
        self.fetch(Some(name)).await.unwrap_err().to_string()
    }

    /// Takes an archive that comes in two pieces.
    pub(super) async fn send(&self, bytes: &[u8]) -> Upload {
        let mut receiving = self.workshop.receive(None).await.unwrap();
        let (one, two) = bytes.split_at(bytes.len() / 2);
        for piece in [one, two] {
            receiving.take(piece.to_vec().into()).await.unwrap();
        }
        receiving.finish().await.unwrap()
    }

    /// Builds it under a name of its own.
    pub(super) async fn build(&mut self, source: &Source) -> Result<Manifest, BuildError> {
        self.built += 1;
        let when: Timestamp = "2026-11-30T19:15:00Z".parse().unwrap();
        let id = source.release_id(when + self.built.minutes());
        self.build_as(&id, source).await
    }

    pub(super) async fn build_as(
        &mut self,
        id: &ReleaseId,
        source: &Source,
    ) -> Result<Manifest, BuildError> {
        let told = &mut self.told;
        self.workshop.build(id, source, Some("jo"), &mut |line| told.push(line.to_owned())).await
    }

    pub(super) async fn deploy(&mut self, name: Option<&str>) -> Manifest {
        let source = self.fetch(name).await.unwrap();
        let built = self.build(&source).await;
        built.unwrap_or_else(|e| panic!("{e}\n{:#?}", self.told))
    }

    pub(super) fn release(&self, manifest: &Manifest) -> PathBuf {
        self.workshop.places.releases.join(&manifest.id.0)
    }

    /// What is left of builds that came to nothing.
    pub(super) fn left(&self) -> Vec<String> {
        let names = |place: &Path| match fs::read_dir(place) {
            Ok(all) => all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect(),
            Err(_) => Vec::new(),
        };
        let places = &self.workshop.places;
        let mut all = names(&places.releases);
        all.retain(|name| name.starts_with('.') && !name.contains(".notes."));
        all.extend(
            names(&places.venvs)
                .into_iter()
                .filter(|name| !super::super::venv::is_whole(&places.venvs.join(name))),
        );
        all
    }
}
