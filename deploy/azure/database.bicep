// A PostgreSQL server with one database, which front doors and workers share. It answers on a private
// address only, and only to identities of Microsoft Entra: it has no passwords.
param location string
param name string
param database string
param logsId string
param subnetId string
param zoneId string

@description('The size of the server. Sizes that begin with Standard_B are burstable and have no standby.')
param size string

@description('Whether a standby in another zone takes over when the server is lost.')
param standby bool

@description('The identity that owns the tables and makes users for the others, by its name and its id.')
param owner string
param ownerPrincipal string

resource server 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: name
  location: location
  sku: {
    name: size
    tier: startsWith(size, 'Standard_B') ? 'Burstable' : startsWith(size, 'Standard_E') ? 'MemoryOptimized' : 'GeneralPurpose'
  }
  properties: {
    createMode: 'Default'
    version: '17'
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: subscription().tenantId
    }
    network: { publicNetworkAccess: 'Disabled' }
    storage: { storageSizeGB: 32, autoGrow: 'Enabled' }
    backup: { backupRetentionDays: 14, geoRedundantBackup: 'Disabled' }
    highAvailability: { mode: standby ? 'ZoneRedundant' : 'Disabled' }
  }

  // A server makes one change at a time, so each of these waits for the one before.
  resource administrator 'administrators' = {
    name: ownerPrincipal
    properties: {
      principalName: owner
      principalType: 'ServicePrincipal'
      tenantId: subscription().tenantId
    }
  }

  resource made 'databases' = {
    name: database
    dependsOn: [administrator]
    properties: { charset: 'UTF8', collation: 'en_US.utf8' }
  }
}

// There is no newer version of this type, nor one that is not a preview.
resource record 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'record'
  scope: server
  properties: {
    workspaceId: logsId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = {
  name: '${name}-endpoint'
  location: location
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: 'database'
        properties: { privateLinkServiceId: server.id, groupIds: ['postgresqlServer'] }
      }
    ]
  }

  resource zone 'privateDnsZoneGroups' = {
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [{ name: 'database', properties: { privateDnsZoneId: zoneId } }]
    }
  }
}

output host string = server.properties.fullyQualifiedDomainName
output name string = server::made.name
