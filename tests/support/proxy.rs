//! nginx's configuration, and an nginx without aibk for the tests of the load generator.

use std::{fs, path::Path, process::Command};

use super::{Running, listener_on, wait::LONG, wait_for};

/// What stands in nginx.conf beside the file that aibk owns.
#[derive(Debug)]
pub struct Site<'a> {
    /// Directory for pid, logs and temporary files.
    pub directory: &'a Path,
    /// Port for the public API.
    pub port: u16,
    /// Port for the administration panel, with the upstream it goes to.
    pub admin: Option<u16>,
    /// What to include in the `http` block: the owned file.
    pub include: &'a Path,
    /// What chooses the colour of a request to the public API, where that flips.
    pub choice: &'a str,
}

impl Site<'_> {
    /// Writes nginx.conf, with the settings that lose nothing.
    pub fn write(&self) {
        let dir = self.directory.display();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let servers = [
            match self.choice {
                "" => server(self.port, "", "api_backend"),
                choice => server(self.port, choice, "api_backend_$aibk_api"),
            },
            self.admin.map(|port| server(port, "", "admin_backend")).unwrap_or_default(),
        ];
        let text = format!(
            "{user}
worker_processes 2;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log notice;
events {{ worker_connections 512; }}
http {{
    access_log {dir}/nginx/access.log;
    client_body_temp_path {dir}/nginx/body;
    proxy_temp_path {dir}/nginx/proxy;
    fastcgi_temp_path {dir}/nginx/fastcgi;
    uwsgi_temp_path {dir}/nginx/uwsgi;
    scgi_temp_path {dir}/nginx/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    include {include};
{servers}}}
",
            include = self.include.display(),
            servers = servers.concat(),
        );
        fs::create_dir_all(self.directory.join("nginx")).expect("a directory");
        fs::write(self.directory.join("nginx.conf"), text).expect("nginx.conf");
    }
}

fn server(port: u16, choice: &str, upstream: &str) -> String {
    format!(
        "    server {{
        listen 127.0.0.1:{port};
        {choice}
        location / {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Host $host;
            proxy_next_upstream error timeout;
            proxy_connect_timeout 2s;
            proxy_read_timeout 60s;
        }}
    }}
"
    )
}

/// An nginx of our own.
#[derive(Debug)]
pub struct Nginx {
    running: Running,
}

impl Nginx {
    /// Starts it on the nginx.conf in `directory` and waits until it listens on `port`.
    pub fn start(directory: &Path, port: u16) -> Self {
        let mut command = Command::new("nginx");
        command.arg("-c").arg(directory.join("nginx.conf")).args(["-g", "daemon off;"]);
        command.arg("-p").arg(directory);
        let running = Running::start_logged(&mut command, &directory.join("nginx.out"));
        wait_for("nginx to listen", LONG, || listener_on(port));
        Self { running }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.running.is_going_on() {
            super::kill(self.running.pid(), rustix::process::Signal::QUIT);
            self.running.status(LONG);
        }
    }
}
