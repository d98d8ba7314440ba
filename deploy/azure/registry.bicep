// The registry that the cluster pulls its images from, and that deployments push them to.
param location string
param name string

@description('The identity that the cluster\'s nodes fetch images with.')
param kubeletPrincipal string

// AcrPull.
var pull = subscriptionResourceId(
  'Microsoft.Authorization/roleDefinitions',
  '7f951dda-4ed3-4680-a7ca-43fe172d538d'
)

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  name: name
  location: location
  sku: { name: 'Standard' }
  properties: { adminUserEnabled: false, anonymousPullEnabled: false }
}

resource mayPull 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, kubeletPrincipal, pull)
  scope: registry
  properties: {
    principalId: kubeletPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: pull
  }
}

output endpoint string = registry.properties.loginServer
