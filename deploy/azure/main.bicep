// Countersign on Azure Container Apps: front door and worker with an identity each, Key Vault
// for accounts and shared keys, the Durable Task Scheduler as the task hub.
targetScope = 'resourceGroup'

@description('Where everything is.')
param location string = resourceGroup().location

@description('What names begin with: 3 to 11 lower-case letters and digits.')
@minLength(3)
@maxLength(11)
param name string = 'totp'

@description('The image, as built from the Dockerfile and pushed to a registry.')
param image string

@description('The registry of the image, if the identities may pull from it without a password.')
param registry string = ''

@description('The administrator\'s token: at least 20 random characters.')
@secure()
@minLength(20)
param adminToken string

@description('Consumption or Dedicated.')
@allowed(['Consumption', 'Dedicated'])
param schedulerSku string = 'Consumption'

@description('Addresses that may reach the scheduler. An empty list would let nobody in.')
param schedulerAllowlist array = ['0.0.0.0/0']

var suffix = uniqueString(resourceGroup().id)
var hub = 'default'

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs-${suffix}'
  location: location
  properties: { sku: { name: 'PerGB2018' }, retentionInDays: 30 }
}

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' = {
  name: '${name}-env'
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
  }
}

// One identity for each part, so that each may do only what it has to.
resource frontDoorIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-front-door'
  location: location
}

resource workerIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-worker'
  location: location
}

module vault 'vault.bicep' = {
  name: 'vault'
  params: {
    location: location
    name: take('${name}-${suffix}', 24)
    logsId: logs.id
    frontDoorPrincipal: frontDoorIdentity.properties.principalId
    workerPrincipal: workerIdentity.properties.principalId
  }
}

module scheduler 'scheduler.bicep' = {
  name: 'scheduler'
  params: {
    location: location
    name: '${name}-dts-${suffix}'
    hub: hub
    sku: schedulerSku
    allowlist: schedulerAllowlist
    principals: [
      frontDoorIdentity.properties.principalId
      workerIdentity.properties.principalId
    ]
  }
}

var registries = empty(registry) ? [] : [registry]

resource worker 'Microsoft.App/containerApps@2024-03-01' = {
  name: '${name}-worker'
  location: location
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${workerIdentity.id}': {} } }
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [for server in registries: { server: server, identity: workerIdentity.id }]
    }
    template: {
      terminationGracePeriodSeconds: 60
      containers: [
        {
          name: 'worker'
          image: image
          args: ['worker']
          resources: { cpu: json('1.0'), memory: '2Gi' }
          env: [
            { name: 'DTS_CONNECTION_STRING', value: 'Endpoint=${scheduler.outputs.endpoint};TaskHub=${hub};Authentication=ManagedIdentity;ClientID=${workerIdentity.properties.clientId}' }
            { name: 'KEY_VAULT_URL', value: vault.outputs.url }
          ]
          volumeMounts: [{ volumeName: 'data', mountPath: '/data' }]
        }
      ]
      volumes: [{ name: 'data', storageType: 'EmptyDir' }]
      scale: {
        minReplicas: 1
        maxReplicas: 10
        rules: [for kind in ['Orchestration', 'Activity']: {
          name: 'dts-${toLower(kind)}'
          custom: {
            type: 'azure-durabletask-scheduler'
            identity: workerIdentity.id
            metadata: {
              endpoint: scheduler.outputs.endpoint
              taskhubName: hub
              workItemType: kind
              maxConcurrentWorkItemsCount: '10'
            }
          }
        }]
      }
    }
  }
}

resource frontDoor 'Microsoft.App/containerApps@2024-03-01' = {
  name: '${name}-front-door'
  location: location
  tags: { 'azd-service-name': 'front-door' }
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${frontDoorIdentity.id}': {} } }
  // The worker makes the keys that both share.
  dependsOn: [worker]
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      // A browser's session is kept by the replica that it logged in to.
      ingress: { external: true, targetPort: 7071, allowInsecure: false, stickySessions: { affinity: 'sticky' } }
      registries: [for server in registries: { server: server, identity: frontDoorIdentity.id }]
      secrets: [{ name: 'admin-token', value: adminToken }]
    }
    template: {
      terminationGracePeriodSeconds: 30
      containers: [
        {
          name: 'front-door'
          image: image
          args: ['front-door']
          resources: { cpu: json('0.5'), memory: '1Gi' }
          env: [
            { name: 'DTS_CONNECTION_STRING', value: 'Endpoint=${scheduler.outputs.endpoint};TaskHub=${hub};Authentication=ManagedIdentity;ClientID=${frontDoorIdentity.properties.clientId}' }
            { name: 'KEY_VAULT_URL', value: vault.outputs.url }
            { name: 'COUNTERSIGN_TOKEN_MAX_STALE', value: '10m' }
            { name: 'COUNTERSIGN_ADMIN_TOKEN', secretRef: 'admin-token' }
            // The ingress of Container Apps, which ends TLS and says so.
            { name: 'COUNTERSIGN_TRUSTED_PROXIES', value: '100.100.0.0/16' }
          ]
          probes: [
            { type: 'Liveness', httpGet: { path: '/healthz', port: 7071 }, periodSeconds: 10 }
            { type: 'Readiness', httpGet: { path: '/readyz', port: 7071 }, periodSeconds: 10, timeoutSeconds: 5 }
          ]
          volumeMounts: [{ volumeName: 'data', mountPath: '/data' }]
        }
      ]
      volumes: [{ name: 'data', storageType: 'EmptyDir' }]
      scale: {
        minReplicas: 2
        maxReplicas: 10
        rules: [{ name: 'http', http: { metadata: { concurrentRequests: '200' } } }]
      }
    }
  }
}

output url string = 'https://${frontDoor.properties.configuration.ingress.fqdn}'
output keyVault string = vault.outputs.url
output taskHub string = 'Endpoint=${scheduler.outputs.endpoint};TaskHub=${hub};Authentication=DefaultAzure'
