//! What a command works with: its output, the daemon, the configuration.

use crate::configuration::Configuration;
use crate::environment;
use crate::error::Result;
use crate::invocation::GlobalOptions;
use crate::ui::Ui;
use corten_client::target::{self, Wishes};
use corten_client::{Client, TlsFiles};
use corten_std::Paths;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

/// What a command works with. Configuration and client are made when first asked for.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    /// The name that this program was called by: `corten` or `docker`.
    pub(crate) program: String,
    options: GlobalOptions,
    folder: PathBuf,
    configuration: Option<Rc<Configuration>>,
    client: Option<Arc<Client>>,
}

impl Context {
    pub(crate) fn new(program: String, options: GlobalOptions) -> Self {
        let folder = options
            .config
            .clone()
            .or_else(|| environment::value(environment::CONFIGURATION))
            .map_or_else(|| environment::home().join(".docker"), PathBuf::from);
        Self { ui: Ui::new(), program, options, folder, configuration: None, client: None }
    }

    /// The folder of the configuration.
    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// The configuration; a damaged file is warned about once and taken as empty.
    pub(crate) fn configuration(&mut self) -> Rc<Configuration> {
        if let Some(configuration) = &self.configuration {
            return Rc::clone(configuration);
        }
        let (configuration, warning) = Configuration::read(&self.folder);
        if let Some(warning) = warning {
            self.ui.note(warning);
        }
        let configuration = Rc::new(configuration);
        self.configuration = Some(Rc::clone(&configuration));
        configuration
    }

    /// The files for TLS, where options or variables ask for it: as named, or those of the certificate folder.
    fn tls(&self) -> Option<TlsFiles> {
        let options = &self.options;
        let verify = options.tlsverify || environment::value(environment::TLS_VERIFY).is_some();
        let wanted = verify || options.tls || environment::value(environment::TLS).is_some();
        if !wanted {
            return None;
        }
        let folder =
            environment::value(environment::CERT_PATH).map_or_else(|| self.folder.clone(), PathBuf::from);
        // Without a certificate of its own a client may still be let in: only what was named must be there.
        let own = |named: &Option<String>, name: &str| match named {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(folder.join(name)).filter(|path| path.exists()),
        };
        let authority = options.tlscacert.as_ref().map_or_else(|| folder.join("ca.pem"), PathBuf::from);
        Some(TlsFiles {
            authority: Some(authority),
            certificate: own(&options.tlscert, "cert.pem"),
            key: own(&options.tlskey, "key.pem"),
            verify,
        })
    }

    /// All that has a say about which daemon is meant.
    fn wishes(&mut self) -> Wishes {
        let configuration = self.configuration();
        let current = &configuration.current_context;
        Wishes {
            host: self.options.host.clone(),
            context: self.options.context.clone(),
            host_variable: environment::value(environment::HOST),
            context_variable: environment::value(environment::CONTEXT),
            current_context: (!current.is_empty()).then(|| current.clone()),
            api_version: environment::value(environment::API_VERSION),
            tls: self.tls(),
            configuration: self.folder.clone(),
            paths: paths(),
        }
    }

    /// The name of the context that is meant, whether or not it is there.
    pub(crate) fn current_context(&mut self) -> String {
        let wishes = self.wishes();
        let named = match (wishes.host, wishes.context, wishes.host_variable) {
            (None, Some(context), _) => Some(context),
            (None, None, None) => wishes.context_variable.or(wishes.current_context),
            _ => None,
        };
        named.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned())
    }

    /// The address that the context `default` stands for.
    pub(crate) fn default_host(&mut self) -> Result<String> {
        let wishes = Wishes { context: None, context_variable: None, current_context: None, ..self.wishes() };
        Ok(target::resolve(&wishes)?.endpoint.to_string())
    }

    /// A client of the daemon at an address that a command names.
    pub(crate) fn client_at(&mut self, host: &str) -> Result<Client> {
        let wishes = Wishes { host: Some(host.to_owned()), context: None, ..self.wishes() };
        Ok(Client::new(target::resolve(&wishes)?, Vec::new()))
    }

    /// The client of the daemon that is meant.
    pub(crate) fn client(&mut self) -> Result<Arc<Client>> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let configuration = self.configuration();
        let wishes = self.wishes();
        let target = target::resolve(&wishes)?;
        let headers =
            configuration.http_headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let own = target.own;
        let mut client = Client::new(target, headers);
        if own {
            client = client.starting("/proc/self/exe".into(), paths(), || {
                Ui::new().note("No daemon is running here yet: starting one");
            });
        }
        let client = Arc::new(client);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }
}

/// Where our own daemon lives.
pub(crate) fn paths() -> Paths {
    let defaults = Paths::default();
    Paths::new(
        environment::value(environment::DATA_ROOT).map_or(defaults.data_root, PathBuf::from),
        environment::value(environment::EXEC_ROOT).map_or(defaults.exec_root, PathBuf::from),
    )
}
