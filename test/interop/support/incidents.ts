/** What happens to the series of a healthy proxy in each incident, and which alerts then fire, with the text that the on-call reads. */

/** A gauge that changes, or a counter that starts to grow, by so much every 15 seconds. */
type Change = { from: string; to: string } | { grows: number }

export type Incident = {
  name: string
  /** By series, without the labels of the target. */
  series: Record<string, Change>
  /** Whether a second instance starts, with another configuration. */
  otherInstance?: boolean
  /** After so many minutes of the incident. */
  minutes: number
  /** All alerts that fire then, with their labels beyond those of target and severity. */
  firing: Record<string, { labels?: Record<string, string>; description: string }>
}

export const incidents: readonly Incident[] = [
  {
    name: 'an instance ends',
    series: {
      up: { from: '1', to: '0' },
    },
    minutes: 2,
    firing: {
      MongoIamProxyInstanceDown: {
        description:
          'proxy-0:9216 has not answered a scrape for a minute. If no other instance serves its address, no client can reach MongoDB.',
      },
    },
  },
  {
    name: 'all instances disappear from Prometheus',
    series: {
      up: { from: '1', to: 'stale' },
    },
    minutes: 12,
    firing: {
      MongoIamProxyMissing: {
        labels: { job: 'mongo-iam-proxy' },
        description:
          'No target belongs to the job mongo-iam-proxy, so none of these alerts can fire. Check the discovery of targets and the name of the job.',
      },
    },
  },
  {
    name: 'the event loop is blocked for long',
    series: {
      nodejs_eventloop_lag_p99_seconds: { from: '0.011', to: '0.45' },
    },
    minutes: 6,
    firing: {
      MongoIamProxyEventLoopSlow: {
        description:
          'One of a hundred timers on proxy-0:9216 is late by 450ms or more. All clients of this instance wait as long.',
      },
    },
  },
  {
    name: 'the relay needs a whole CPU',
    series: {
      process_cpu_seconds_total: { from: '0', to: '0+14.4' },
    },
    minutes: 17,
    firing: {
      MongoIamProxyCpuNearLimit: {
        description: 'proxy-0:9216 uses 96% of a CPU. The relay runs on one thread, so a second CPU does not help.',
      },
    },
  },
  {
    name: 'file descriptors run out',
    series: {
      process_open_fds: { from: '300', to: '950' },
    },
    minutes: 6,
    firing: {
      MongoIamProxyDescriptorsNearLimit: {
        description:
          'proxy-0:9216 uses 95% of the file descriptors that it may open. At 100 % it accepts no connection.',
      },
    },
  },
  {
    name: 'the operating system gives no more sockets',
    series: {
      mongo_iam_proxy_failed_accepts_total: { grows: 2 },
    },
    minutes: 2,
    firing: {
      MongoIamProxyAcceptFailing: {
        description: 'The operating system refused 18 connections of proxy-0:9216 within 5 minutes.',
      },
    },
  },
  {
    name: 'the clock of the proxy is four minutes slow',
    series: {
      mongo_iam_proxy_clock_skew_seconds: { from: '0', to: '240' },
    },
    minutes: 6,
    firing: {
      MongoIamProxyClockSkewed: {
        description:
          'The clock of proxy-0:9216 differs from the clock of AWS by 4m 0s. From 15 minutes on, logins are refused.',
      },
    },
  },
  {
    name: 'a bug shows itself once',
    series: {
      'mongo_iam_proxy_faults_total{kind="internal"}': { from: '0', to: '1' },
    },
    minutes: 1,
    firing: {
      MongoIamProxyInternalError: {
        labels: { kind: 'internal' },
        description: 'Internal errors that proxy-0:9216 logged within 10 minutes: 1.',
      },
    },
  },
  {
    name: 'half of the logins time out',
    series: {
      'mongo_iam_proxy_logins_total{outcome="login/timeout"}': { grows: 15 },
    },
    minutes: 9,
    firing: {
      MongoIamProxyLoginsFailing: {
        description:
          '50% of the logins on proxy-0:9216 fail because of AWS, MongoDB or the proxy. Another alert usually names the cause.',
      },
    },
  },
  {
    name: 'a client hammers with a wrong secret',
    series: {
      'mongo_iam_proxy_logins_total{outcome="sts/refused"}': { grows: 15 },
      'mongo_iam_proxy_logins_total{outcome="login/signature-limit"}': { grows: 135 },
      'mongo_iam_proxy_sts_calls_total{outcome="refused"}': { grows: 150 },
    },
    minutes: 7,
    firing: {
      MongoIamProxyCredentialsRefused: {
        description:
          'proxy-0:9216 refuses 10 logins per second because of a wrong secret key, an unknown access key or an expired session.',
      },
    },
  },
  {
    name: 'a client uses a signature that was made for another service',
    series: {
      'mongo_iam_proxy_logins_total{outcome="proof/header-unsigned"}': { from: '0', to: '1' },
    },
    minutes: 1,
    firing: {
      MongoIamProxySuspiciousLogin: {
        labels: { outcome: 'proof/header-unsigned' },
        description: 'Logins that proxy-0:9216 refused with the fault proof/header-unsigned within 15 minutes: 1.',
      },
    },
  },
  {
    name: 'nine tenths of the session slots are taken',
    series: {
      'mongo_iam_proxy_session_slots{state="taken"}': { from: '100', to: '900' },
      'mongo_iam_proxy_session_slots{state="free"}': { from: '900', to: '100' },
    },
    minutes: 6,
    firing: {
      MongoIamProxySessionsNearLimit: {
        description: '90% of the session slots of proxy-0:9216 are taken. At 100 % it refuses new logins.',
      },
    },
  },
  {
    name: 'all session slots are taken',
    series: {
      'mongo_iam_proxy_session_slots{state="taken"}': { from: '100', to: '1000' },
      'mongo_iam_proxy_session_slots{state="free"}': { from: '900', to: '0' },
      'mongo_iam_proxy_logins_total{outcome="login/session-limit"}': { grows: 1 },
    },
    minutes: 6,
    firing: {
      MongoIamProxySessionsNearLimit: {
        description: '100% of the session slots of proxy-0:9216 are taken. At 100 % it refuses new logins.',
      },
      MongoIamProxySessionLimitReached: {
        labels: { outcome: 'login/session-limit' },
        description: 'proxy-0:9216 refused 20 logins within 5 minutes because all session slots were taken.',
      },
    },
  },
  {
    name: 'an application leaks clients',
    series: {
      'mongo_iam_proxy_logins_total{outcome="login/principal-limit"}': { grows: 3 },
    },
    minutes: 2,
    firing: {
      MongoIamProxyPrincipalLimitReached: {
        labels: { outcome: 'login/principal-limit' },
        description: 'proxy-0:9216 refused 27 logins of such principals within 5 minutes.',
      },
    },
  },
  {
    name: 'one address opens too many connections',
    series: {
      mongo_iam_proxy_shed_total: { grows: 30 },
    },
    minutes: 7,
    firing: {
      MongoIamProxyConnectionsShed: {
        description:
          'proxy-0:9216 closed 600 connections within 5 minutes because listen.connections or listen.perAddress was reached.',
      },
    },
  },
  {
    name: 'STS is down',
    series: {
      'mongo_iam_proxy_logins_total{outcome="success"}': { from: '0', to: '0' },
      'mongo_iam_proxy_sts_calls_total{outcome="identity"}': { from: '0', to: '0' },
      'mongo_iam_proxy_logins_total{outcome="sts/unavailable"}': { grows: 15 },
      'mongo_iam_proxy_sts_calls_total{outcome="unavailable"}': { grows: 30 },
      'mongo_iam_proxy_sts_host_health{host="sts.eu-west-1.amazonaws.com"}': { from: '1', to: '0' },
    },
    minutes: 8,
    firing: {
      MongoIamProxyStsDown: {
        description:
          '100% of the STS calls of proxy-0:9216 got no usable answer within 5 minutes. Those clients cannot log in. Open sessions continue.',
      },
      MongoIamProxyStsHostEjected: {
        labels: { host: 'sts.eu-west-1.amazonaws.com' },
        description:
          'sts.eu-west-1.amazonaws.com answers proxy-0:9216 badly or not at all. The other hosts carry its logins.',
      },
      MongoIamProxyLoginsFailing: {
        description:
          '100% of the logins on proxy-0:9216 fail because of AWS, MongoDB or the proxy. Another alert usually names the cause.',
      },
    },
  },
  {
    name: 'one of two STS hosts is down',
    series: {
      'mongo_iam_proxy_sts_host_health{host="sts.us-east-1.amazonaws.com"}': { from: '1', to: '0' },
    },
    minutes: 6,
    firing: {
      MongoIamProxyStsHostEjected: {
        labels: { host: 'sts.us-east-1.amazonaws.com' },
        description:
          'sts.us-east-1.amazonaws.com answers proxy-0:9216 badly or not at all. The other hosts carry its logins.',
      },
    },
  },
  {
    name: 'STS throttles one call in a hundred',
    series: {
      'mongo_iam_proxy_sts_calls_total{outcome="throttled"}': { grows: 0.15 },
    },
    minutes: 4,
    firing: {
      MongoIamProxyStsThrottled: {
        labels: { outcome: 'throttled' },
        description: 'STS throttled 2.55 calls of proxy-0:9216 within 5 minutes. An AWS account exceeded its quota.',
      },
    },
  },
  {
    name: 'an account has too many logins for its STS quota',
    series: {
      'mongo_iam_proxy_logins_total{outcome="budget/exhausted"}': { grows: 1 },
    },
    minutes: 7,
    firing: {
      MongoIamProxyBudgetExhausted: {
        labels: { outcome: 'budget/exhausted' },
        description:
          'proxy-0:9216 refused 20 logins within 5 minutes because too many logins of their AWS account were waiting for STS.',
      },
    },
  },
  {
    name: 'MongoDB is unreachable',
    series: {
      mongo_iam_proxy_upstream_up: { from: '1', to: '0' },
      mongo_iam_proxy_upstream_primary: { from: '1', to: '0' },
      'mongo_iam_proxy_upstream_member_up{member="mongo-0:27017"}': { from: '1', to: '0' },
      'mongo_iam_proxy_logins_total{outcome="success"}': { from: '0', to: '0' },
      'mongo_iam_proxy_logins_total{outcome="upstream/unreachable"}': { grows: 15 },
    },
    minutes: 4,
    firing: {
      MongoIamProxyUpstreamDown: {
        description: 'No member of the upstream answers proxy-0:9216.',
      },
    },
  },
  {
    name: 'the replica set has lost its primary',
    series: {
      mongo_iam_proxy_upstream_primary: { from: '1', to: '0' },
    },
    minutes: 1,
    firing: {
      MongoIamProxyNoPrimary: {
        description:
          'proxy-0:9216 finds no primary, so clients cannot log in or write. An election takes about 12 seconds.',
      },
    },
  },
  {
    name: 'a secondary is down',
    series: {
      'mongo_iam_proxy_upstream_member_up{member="mongo-1:27017"}': { from: '1', to: '0' },
    },
    minutes: 6,
    firing: {
      MongoIamProxyMemberDown: {
        labels: { member: 'mongo-1:27017' },
        description: 'mongo-1:27017 does not answer proxy-0:9216.',
      },
    },
  },
  {
    name: 'MongoDB is full and closes new connections',
    series: {
      'mongo_iam_proxy_logins_total{outcome="success"}': { from: '0', to: '0' },
      'mongo_iam_proxy_logins_total{outcome="upstream/unreachable"}': { grows: 15 },
    },
    minutes: 3,
    firing: {
      MongoIamProxyUpstreamRefusing: {
        description:
          'The primary answers proxy-0:9216 and then failed 195 logins within 5 minutes. It may be full, or reject the database user.',
      },
    },
  },
  {
    name: 'roles of a rule do not exist in MongoDB',
    series: {
      'mongo_iam_proxy_logins_total{outcome="provision/failed"}': { grows: 1 },
    },
    minutes: 4,
    firing: {
      MongoIamProxyProvisioningFailing: {
        description:
          '17 logins on proxy-0:9216 failed within 5 minutes because their database user could not be created or changed.',
      },
    },
  },
  {
    name: 'MongoDB refuses to take roles away',
    series: {
      mongo_iam_proxy_unrevoked_roles: { from: '0', to: '2' },
    },
    minutes: 2,
    firing: {
      MongoIamProxyRolesUnrevoked: {
        description:
          '2 database users still have roles that a rule or a directory user took away. proxy-0:9216 cannot remove them.',
      },
    },
  },
  {
    name: 'LDAP authorization is turned on',
    series: {
      'mongo_iam_proxy_ldap_authorization{state="on"}': { from: '0', to: '1' },
      'mongo_iam_proxy_ldap_authorization{state="off"}': { from: '1', to: '0' },
    },
    minutes: 1,
    firing: {
      MongoIamProxyLdapOn: {
        labels: { state: 'on' },
        description: 'proxy-0:9216 refuses every login, because roles could come from an LDAP directory.',
      },
    },
  },
  {
    name: 'MongoDB does not say whether LDAP authorization is on',
    series: {
      'mongo_iam_proxy_ldap_authorization{state="unknown"}': { from: '0', to: '1' },
      'mongo_iam_proxy_ldap_authorization{state="off"}': { from: '1', to: '0' },
    },
    minutes: 6,
    firing: {
      MongoIamProxyLdapUnknown: {
        labels: { state: 'unknown' },
        description: 'proxy-0:9216 refuses logins, because it cannot ask MongoDB about LDAP authorization.',
      },
    },
  },
  {
    name: 'a certificate expires in three days',
    series: {
      'mongo_iam_proxy_tls_certificate_expiry_seconds{file="/etc/mongo-iam-proxy/tls.crt"}': {
        from: '7776000',
        to: '259200',
      },
    },
    minutes: 11,
    firing: {
      MongoIamProxyCertificateExpiring: {
        labels: { file: '/etc/mongo-iam-proxy/tls.crt' },
        description: '/etc/mongo-iam-proxy/tls.crt on proxy-0:9216 expires in 3d 0h 0m 0s.',
      },
    },
  },
  {
    name: 'a certificate has expired',
    series: {
      'mongo_iam_proxy_tls_certificate_expiry_seconds{file="/etc/mongo-iam-proxy/tls.crt"}': {
        from: '7776000',
        to: '-1',
      },
    },
    minutes: 1,
    firing: {
      MongoIamProxyCertificateExpired: {
        labels: { file: '/etc/mongo-iam-proxy/tls.crt' },
        description: '/etc/mongo-iam-proxy/tls.crt on proxy-0:9216 has expired. Connections that need it fail.',
      },
    },
  },
  {
    name: 'the disk of the audit trail is full',
    series: {
      mongo_iam_proxy_audit_up: { from: '1', to: '0' },
    },
    minutes: 1,
    firing: {
      MongoIamProxyAuditFailing: {
        description:
          'proxy-0:9216 cannot write its audit trail. With audit.onFailure: refuse, it refuses logins; otherwise events are lost once 16 MiB wait.',
      },
    },
  },
  {
    name: 'the disk of the audit trail is full for so long that events are lost',
    series: {
      mongo_iam_proxy_audit_up: { from: '1', to: '0' },
      mongo_iam_proxy_audit_lost_events_total: { grows: 15 },
    },
    minutes: 10,
    firing: {
      MongoIamProxyAuditFailing: {
        description:
          'proxy-0:9216 cannot write its audit trail. With audit.onFailure: refuse, it refuses logins; otherwise events are lost once 16 MiB wait.',
      },
      MongoIamProxyAuditEventsLost: {
        description: 'proxy-0:9216 lost 615 events of the audit trail within an hour.',
      },
    },
  },
  {
    name: 'a reload is rejected',
    series: {
      'mongo_iam_proxy_reload_timestamp_seconds{outcome="rejected"}': { from: '0', to: '1700000600' },
    },
    minutes: 1,
    firing: {
      MongoIamProxyReloadRejected: {
        description: 'proxy-0:9216 runs with its previous configuration. After a restart it would not start.',
      },
    },
  },
  {
    name: 'a reload removes two protections',
    series: {
      mongo_iam_proxy_weakened_protections_total: { from: '0', to: '2' },
    },
    minutes: 1,
    firing: {
      MongoIamProxyProtectionWeakened: {
        description: 'The configuration of proxy-0:9216 lost or widened 2 protections within an hour.',
      },
    },
  },
  {
    name: 'a rollout of the configuration hangs',
    series: {},
    otherInstance: true,
    minutes: 31,
    firing: {
      MongoIamProxyConfigurationsDiffer: {
        labels: { job: 'mongo-iam-proxy' },
        description: 'The job mongo-iam-proxy runs with 2 different configuration files.',
      },
    },
  },
]
