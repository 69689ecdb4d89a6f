//! A headless Chromium, driven over a pair of pipes by its own DevTools protocol: no driver, no port, no library.
//!
//! Start at [`Tab::open`]. Nothing here waits by the clock: [`Tab::wait_for`] returns in the frame in which its
//! condition holds.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// The limit for any step on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Debian's program names, the smaller one first.
const PROGRAMS: [&str; 2] = ["chromium-headless-shell", "chromium"];

/// A running browser with one tab. Killed when dropped.
pub(crate) struct Tab {
    child: Child,
    to: ChildStdin,
    from: mpsc::UnboundedReceiver<Value>,
    events: VecDeque<Value>,
    session: Value,
    asked: u64,
    width: u32,
    _profile: TempDir,
}

/// The browser of this machine; `None` if there is none.
pub(crate) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut all = PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.find(|file| file.is_file())
}

impl Tab {
    /// Starts the browser with an empty profile.
    pub(crate) async fn open(program: &Path) -> Tab {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads commands from descriptor 3 and answers on 4; a shell puts our pipes there.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>&2"])
            .arg(program)
            // Chromium has no sandbox for root, as in a pipeline; the pages are ours.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-quic", "--hide-scrollbars", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let (said, from) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                if said.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let (events, session) = (VecDeque::new(), Value::Null);
        let mut tab = Tab { child, to, from, events, session, asked: 0, width: 0, _profile: profile };
        let target = tab.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        tab.session = tab.call("Target.attachToTarget", attach).await["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        tab
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut command = json!({"id": self.asked, "method": method, "params": params});
        if self.session.is_string() {
            command["sessionId"] = self.session.clone();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut message = self.next(method).await;
            if message["id"] == self.asked {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    async fn next(&mut self, what: &str) -> Value {
        let waited = tokio::time::timeout(TIMEOUT, self.from.recv()).await;
        waited
            .unwrap_or_else(|_| panic!("{what}: no answer within {TIMEOUT:?}"))
            .expect("the browser is gone")
    }

    /// Opens an address and waits until it is loaded.
    pub(crate) async fn goto(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let went = self.call("Page.navigate", json!({"url": url})).await;
        assert!(went["errorText"].is_null(), "{url}: {}", went["errorText"]);
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next(url).await;
            self.events.push_back(event);
        }
    }

    /// The value of an expression in the page.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", params).await;
        let wrong = &result["exceptionDetails"];
        assert!(wrong.is_null(), "{expression}: {}", wrong["exception"]["description"]);
        result["result"]["value"].take()
    }

    /// Waits until an expression is true; it is evaluated in every frame.
    pub(crate) async fn wait_for(&mut self, condition: &str) {
        let timeout = TIMEOUT.as_millis() / 2;
        let waiting = format!(
            "new Promise((hold, fail) => {{
                const began = performance.now();
                const look = () => {{
                    if ({condition}) hold();
                    else if (performance.now() - began < {timeout}) requestAnimationFrame(look);
                    else fail(new Error('waited in vain; the page says:\\n' + document.body.innerText));
                }};
                look();
            }})"
        );
        self.value(&waiting).await;
    }

    /// The visible text of the page.
    pub(crate) async fn text(&mut self) -> String {
        self.value("document.body.innerText").await.as_str().unwrap().to_owned()
    }

    /// Everything the browser reported since the last call: script errors, refused or failed requests,
    /// violations of the page's own policy.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let bad = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                Some(event["params"]["exceptionDetails"]["exception"]["description"].to_string())
            }
            Some("Log.entryAdded") => Some(event["params"]["entry"].to_string()),
            Some("Runtime.consoleAPICalled") if event["params"]["type"] == "error" => {
                Some(event["params"]["args"].to_string())
            }
            _ => None,
        };
        self.events.drain(..).filter_map(|event| bad(&event)).collect()
    }

    /// Every address that was requested since the last call of [`Tab::complaints`].
    pub(crate) fn requested(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Emulates a screen of this size and the system setting `light` or `dark`.
    pub(crate) async fn emulate(&mut self, width: u32, height: u32, scheme: &str) {
        self.width = width;
        self.grow(height).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Makes the screen as high as this.
    pub(crate) async fn grow(&mut self, height: u32) {
        let phone = self.width < 600;
        let metrics = json!({"width": self.width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 },
            "mobile": phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Presses and releases a key.
    pub(crate) async fn press(&mut self, key: &str) {
        let (code, text) = if key == "Enter" { (13, "\r") } else { (9, "") };
        let down =
            json!({"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", down).await;
        let up = json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", up).await;
    }

    /// Whether pages may run scripts, from the next one on.
    pub(crate) async fn allow_scripts(&mut self, yes: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !yes})).await;
    }

    /// A picture of what the screen shows.
    pub(crate) async fn picture(&mut self, file: &Path) {
        let params = json!({"format": "png"});
        let shot = self.call("Page.captureScreenshot", params).await;
        let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, png).unwrap();
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
