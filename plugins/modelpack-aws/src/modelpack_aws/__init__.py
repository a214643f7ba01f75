"""Deploys modelpack bundles to Amazon Web Services.

    DeploymentSpec ──wanted──► Wanted ──ecs | ec2 | lambda_ | sagemaker──► Template ──policy──► stack
                                                                              │           CloudFormation
                                                                              └─► ``--output``, cfn-lint

    target     what ``--target aws`` means: chooses a service, plans, applies, goes back
    wanted     what a spec asks for, in the words of this package
    template   a CloudFormation template as a value
    policy     rules that every template of ours keeps
    roles      who may do what: statements with names in them, never ``*``
    instances  instance types: processors, memory, accelerators, a price of a day
    stack      change sets: made, shown, executed, waited for, taken back
    push       the image repository, and the image in it
    session    clients of boto3, and what they raise in our words

CloudFormation keeps the state; nothing is kept here.  boto3 is imported when a client is made.
"""
