//! The preview port: what no client sees yet, for whoever tries it. Pure.

use super::{
    Members, Role,
    render::{Proxied, address},
};

/// The server at the preview port, while there is something to be seen. What it is asked is not counted
/// among the requests of clients.
pub(super) fn server(proxied: &Proxied, members: &Members) -> String {
    let shown = members.iter().find(|(_, role)| **role == Role::Preview);
    let (Some((slot, _)), Some(port)) = (shown, proxied.options.preview) else {
        return String::new();
    };
    let to = address(proxied.host, *slot);
    format!(
        "
server {{
    listen 127.0.0.1:{port};
    access_log off;

    location / {{
        proxy_pass http://{to};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $http_connection;
    }}
}}
"
    )
}
