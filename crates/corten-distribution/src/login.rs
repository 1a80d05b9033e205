//! Questions that are about a registry and not about one repository: is this login right, what images are there.

use crate::auth::{self, Credentials};
use crate::error::DistributionError;
use crate::hosts::Endpoint;
use crate::registry::{Ask, Registries, Repository, Target, refusal};
use crate::transport::Body;
use crate::url::Url;
use corten_oci::Reference;
use http::Method;
use serde::{Deserialize, Serialize};

/// Bytes that a list of found images may have.
const SEARCH_LIMIT: usize = 8 << 20;

/// One image that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// How many like it.
    pub star_count: i64,
    /// Whether the registry's owner vouches for it.
    pub is_official: bool,
    /// The repository.
    pub name: String,
    /// Made by the registry itself; nothing is any more.
    pub is_automated: bool,
    /// What it is, in its owner's words.
    #[serde(deserialize_with = "text_or_null")]
    pub description: String,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FoundAnswer {
    results: Vec<Found>,
}

impl Registries {
    /// Checks a login with a registry (`docker.io`, `host:port`). Gives an identity token where the registry offers one
    /// in place of the password; else nothing.
    pub async fn login(&self, domain: &str, credentials: &Credentials) -> Result<String, DistributionError> {
        let repository = self.of_domain(domain, credentials)?;
        let endpoints: Vec<Endpoint> = self.settings().endpoints(domain)?;
        let endpoint = endpoints.last().ok_or_else(|| DistributionError::Configuration {
            path: domain.to_owned(),
            what: "no host is named for it".to_owned(),
        })?;
        let endpoint = &*self.shared.loosened(endpoint).await;
        // Asked as nobody first, so that the registry says how it wants to be asked.
        let ask = Ask {
            method: Method::GET,
            target: Target::Path("/"),
            headers: Vec::new(),
            body: &|| Body::Empty,
            scopes: Vec::new(),
            also: &[401],
        };
        let mut response = self.of_domain(domain, &Credentials::default())?.ask(endpoint, ask).await?;
        // Without TLS, where that is allowed, it is asked at the same port.
        let plain = Url { secure: false, ..endpoint.base.clone() };
        let own = response.url.same_origin(&endpoint.base)
            || endpoint.plain_allowed && response.url.same_origin(&plain);
        if !own {
            return Err(DistributionError::Answer {
                host: endpoint.base.authority(),
                what: format!("it redirects logins to {}: nothing is shown there", response.url.authority()),
            });
        }
        let text = response.whole(64 << 10).await?;
        let challenges = response.challenges();
        let bearer = challenges.iter().find(|challenge| challenge.scheme == "bearer");
        match bearer {
            Some(bearer) => {
                let token = auth::token(
                    &self.shared.transport,
                    &response.url,
                    &endpoint.way,
                    bearer,
                    &[],
                    credentials,
                    true,
                )
                .await?;
                Ok(token.identity)
            }
            None if challenges.iter().any(|challenge| challenge.scheme == "basic") => {
                repository.check(endpoint).await.map(|()| String::new()).map_err(|error| match error {
                    DistributionError::Refused { host, status: 401, retry_after, .. } => {
                        DistributionError::Refused {
                            message: format!(
                                "login attempt to {} failed with status: 401 Unauthorized",
                                response.url
                            ),
                            host,
                            status: 401,
                            retry_after,
                        }
                    }
                    error => error,
                })
            }
            None if response.status.is_success() => Ok(String::new()),
            None => Err(refusal(&response, &text)),
        }
    }

    /// Looks for images whose name or description has a word: the first version of the registry protocol, which Docker
    /// Hub and few others still answer.
    pub async fn search(
        &self,
        domain: &str,
        word: &str,
        limit: usize,
        credentials: &Credentials,
    ) -> Result<Vec<Found>, DistributionError> {
        let repository = self.of_domain(domain, credentials)?;
        let mut endpoints = self.settings().endpoints(domain)?;
        let mut endpoint = endpoints.pop().ok_or_else(|| DistributionError::Configuration {
            path: domain.to_owned(),
            what: "no host is named for it".to_owned(),
        })?;
        if domain == corten_oci::reference::DEFAULT_DOMAIN {
            "index.docker.io".clone_into(&mut endpoint.base.host);
        }
        "/v1".clone_into(&mut endpoint.base.path);
        let path = format!("/search?q={}&n={limit}", crate::url::encode(word));
        let ask = Ask {
            method: Method::GET,
            target: Target::Path(&path),
            headers: Vec::new(),
            body: &|| Body::Empty,
            scopes: Vec::new(),
            also: &[],
        };
        let mut response = repository.ask(&endpoint, ask).await?;
        let bytes = response.whole(SEARCH_LIMIT).await?;
        let answer: FoundAnswer = serde_json::from_slice(&bytes).map_err(|_| DistributionError::Answer {
            host: endpoint.base.authority(),
            what: "it does not answer searches as Docker Hub does".to_owned(),
        })?;
        Ok(answer.results)
    }

    fn of_domain(&self, domain: &str, credentials: &Credentials) -> Result<Repository, DistributionError> {
        let name =
            Reference::parse(&format!("{domain}/x/x")).map_err(|_| DistributionError::Configuration {
                path: domain.to_owned(),
                what: "not the name of a registry".to_owned(),
            })?;
        self.repository(&name, credentials.clone())
    }
}

impl Repository {
    async fn check(&self, endpoint: &Endpoint) -> Result<(), DistributionError> {
        let ask = Ask {
            method: Method::GET,
            target: Target::Path("/"),
            headers: Vec::new(),
            body: &|| Body::Empty,
            scopes: Vec::new(),
            also: &[],
        };
        self.ask(endpoint, ask).await?.finish().await;
        Ok(())
    }
}
