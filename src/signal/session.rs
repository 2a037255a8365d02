//! Stand-in for one WebSocket's session: echoes text.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::hub::Hub;
use crate::config::settings;
use crate::shutdown::Drain;

/// Serves one client until it leaves.
pub async fn run<S>(mut socket: WebSocketStream<S>, _peer: SocketAddr, _hub: Hub, _drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    while let Some(Ok(message)) = socket.next().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

/// Buffers and limits of a session's socket.
pub fn websocket_config(settings: &settings::Signaling) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(settings.max_message))
        .max_frame_size(Some(settings.max_message))
}
